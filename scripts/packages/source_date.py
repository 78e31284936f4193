"""When the source that a package is made from was written: the only time that a package knows, so that the same source gives the same bytes."""

import os
import subprocess

from problem import Problem
from programs import ROOT


def source_date():
    """Seconds since 1970: SOURCE_DATE_EPOCH, or the time of the last commit."""
    named = os.environ.get("SOURCE_DATE_EPOCH", "")
    if named:
        if not named.isdecimal():
            raise Problem(f"SOURCE_DATE_EPOCH={named} is not a number of seconds since 1970")
        return int(named)
    told = subprocess.run(["git", "-C", ROOT, "log", "-1", "--format=%ct"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    if told.returncode or not told.stdout.strip():
        raise Problem("there is no git history here to take the date from: set SOURCE_DATE_EPOCH, in seconds since 1970")
    return int(told.stdout)
