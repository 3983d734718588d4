"""What kinds of failures of workflows, steps and members of batches there are: words for programs, which stay."""

from __future__ import annotations

from enum import StrEnum


class FailureCode(StrEnum):
    """A code is never given another meaning, nor taken away; a newer version may know more."""

    SETTING_WRONG = "setting-wrong"
    PERMANENT = "permanent"
    ATTEMPTS_FAILED = "attempts-failed"
    ENDED_FROM_OUTSIDE = "ended-from-outside"
    NOT_STARTED = "not-started"
    EXCHANGE_SILENT = "exchange-silent"
    EXCHANGE_REFUSED = "exchange-refused"
    ACTION_FAILED = "action-failed"
    HOLES_LEFT = "holes-left"
    TOPIC_MISSING = "topic-missing"
    TOPIC_REPLACED = "topic-replaced"
    MESSAGES_MISSING = "messages-missing"
    MESSAGES_EXPIRED = "messages-expired"
    REQUEST_REFUSED = "request-refused"
    INPUT_NOT_PROVEN = "input-not-proven"
    GRAPH_INCOMPLETE = "graph-incomplete"
    MODEL_INCOMPLETE = "model-incomplete"


MEANINGS: dict[FailureCode, str] = {
    FailureCode.SETTING_WRONG: "a worker ended with exit code 2: a setting of it is missing or wrong",
    FailureCode.PERMANENT: "a worker met what does not go away by trying again",
    FailureCode.ATTEMPTS_FAILED: "as many attempts of a step as are allowed failed in a row",
    FailureCode.ENDED_FROM_OUTSIDE: "attempts of a step were ended from outside again and again",
    FailureCode.NOT_STARTED: "a worker cannot be started with the settings that there are",
    FailureCode.EXCHANGE_SILENT: "the exchange did not answer as often as it is asked",
    FailureCode.EXCHANGE_REFUSED: "the exchange, or its archive, refuses what was asked for",
    FailureCode.ACTION_FAILED: "an action of the manager failed again and again",
    FailureCode.HOLES_LEFT: "holes are left after the last round of repair, or no source has what lacks",
    FailureCode.TOPIC_MISSING: "the topic that was to be stored is not there, or cannot be seen",
    FailureCode.TOPIC_REPLACED: "the topic that was to be stored was removed and made again",
    FailureCode.MESSAGES_MISSING: "messages of the topic are neither stored nor dead letters",
    FailureCode.MESSAGES_EXPIRED: "the topic removed messages before they were read",
    FailureCode.REQUEST_REFUSED: "of a member of a batch: no workflow can be made of the request",
    FailureCode.INPUT_NOT_PROVEN: "a series is not proven in the range that is needed, and no workflow loads it",
    FailureCode.GRAPH_INCOMPLETE: "of a graph that was made some snapshots are gone",
    FailureCode.MODEL_INCOMPLETE: "of a model that was published some files are gone",
}
