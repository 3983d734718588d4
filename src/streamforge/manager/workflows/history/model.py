"""What a workflow that loads a past range of a series keeps in its document."""

from __future__ import annotations

from streamforge.manager.engine.document import Remark, Workflow
from streamforge.manager.workflows.series.model import SeriesPart, SourceChoice
from streamforge_utils.model.coverage import IdsRead


class History(SeriesPart, frozen=True, kw_only=True, tag="history"):
    """The part of the document of such a workflow; `plan` and `proof` are those of its series.

    clipped: the range that was written ends later than the exchange's now. again: load also what coverage already has.
    source: where the records are wanted from. verification: the manager made it, to load what the store had lost.
    supplements: the live workflow for which the manager has made it. disputed: ranges that were loaded from files of
    this plan whose published checksum they do not meet. read: what its loaders of files have told of the ids in them; a
    document of an older version has none. archive_searched: files were searched for holes that the exchange does not
    fill. archive_failure: why the next plan does without files.
    """

    clipped: bool = False
    again: bool = False
    source: SourceChoice = SourceChoice.AUTO
    verification: bool = False
    supplements: str = ""
    disputed: tuple[Remark, ...] = ()
    read: tuple[IdsRead, ...] = ()
    archive_searched: bool = False
    archive_failure: str = ""


def history_of(workflow: Workflow) -> History | None:
    """What a workflow that loads a past range keeps; None: it does something else."""
    return workflow.form if isinstance(workflow.form, History) else None
