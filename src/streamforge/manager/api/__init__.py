"""The HTTP API of queue-manager, on top of `streamforge.manager.workflow_service.WorkflowService`."""
