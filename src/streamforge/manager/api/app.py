"""The application: routes, guards and the description of all of them."""

from __future__ import annotations

from fastapi import FastAPI

from streamforge.manager.api import catalogue_routes, data_routes, handlers, queue_routes
from streamforge.manager.api.guard import Addresses, Authentication, Guard
from streamforge.manager.api.openapi_description import describe
from streamforge.manager.api.routing import Context, Limits
from streamforge.manager.api.sse import Followers
from streamforge.manager.api.tokens import Tokens
from streamforge.manager.workflow_service import WorkflowService
from streamforge.version import installed_version
from streamforge_utils.ports.clock import Clock, SystemClock


def create_app(
    service: WorkflowService, *, tokens: Tokens | None = None, limits: Limits | None = None, clock: Clock | None = None
) -> FastAPI:
    """The HTTP API on top of `service`.

    tokens: who may do what. Without them only requests that name this machine as their host are served, and none
    that a web page of another origin sends. clock: for ranges that are relative to now; the machine's by default.
    """
    limits = limits or Limits()
    app = FastAPI(
        title="StreamForge queue-manager",
        version=installed_version(),
        openapi_url="/openapi.json",
        docs_url=None,  # the interactive pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.context = Context(
        service, limits, Followers(limits.followers, limits.retry_after_s), clock or SystemClock()
    )
    handlers.install(app)
    for router in (queue_routes.router, data_routes.router, catalogue_routes.router):
        app.include_router(router)
    describe(app)
    app.add_middleware(Addresses)
    app.add_middleware(Authentication, tokens=tokens)
    app.add_middleware(Guard, limits=limits)  # added last: outermost
    return app
