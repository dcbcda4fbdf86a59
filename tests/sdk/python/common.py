"""What the SDK programs share: where the gateway is, and how a result is reported."""

import json
import os

URL = os.environ["TOLLGATE_URL"]
MODEL = os.environ["TOLLGATE_MODEL"]
# Keys by what they are good for: good, confined (another model only), slow (one request per minute), broke (no budget
# left), wrong.
KEYS = json.loads(os.environ["TOLLGATE_KEYS"])
# As often as the SDK does by default where that must make no difference.
RETRIES = {"broke": 2}
QUESTION = "Will it rain in Zürich?"


def report(name, **facts):
    """One line per scenario; the test reads them."""
    print(json.dumps({"scenario": name, **facts}), flush=True)


def failure(name, call, describe):
    """Reports which exception a call raises."""
    try:
        call()
    except Exception as error:
        report(name, error=type(error).__name__, module=type(error).__module__.split(".")[0], **describe(error))
    else:
        report(name, error=None)
