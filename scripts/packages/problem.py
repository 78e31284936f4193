"""Why a package cannot be made, in words that say what to do instead."""


class Problem(Exception):
    """For the person at the terminal."""
