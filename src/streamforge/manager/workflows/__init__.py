"""The forms of workflow, one folder each."""
