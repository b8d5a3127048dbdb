"""Words that results are put in."""


def counted(number: int, one: str, many: str = "") -> str:
    """A number and what it counts.

    >>> counted(1, "photo"), counted(0, "photo"), counted(2, "person", "people")
    ('1 photo', '0 photos', '2 people')
    """
    return f"{number} {one if number == 1 else many or one + 's'}"
