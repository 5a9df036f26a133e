"""References to secrets, `env:NAME` and `file:PATH`, and which of them callers may name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, cast

from ..errors import InvalidArgument, NotAllowed

ALLOWED: Final = "a reference, env:NAME or file:PATH"
KEY_NAMES: Final = (
    "names that end in KEY, KEY_ID, TOKEN, SECRET, PASSWORD, PASSWD, CREDENTIALS, AUTH or BEARER"
)
_REFERENCE: Final = re.compile(
    r"(?P<before>(?:[A-Za-z]{1,20} )?)(?P<kind>env|file):"
    r"(?P<name>[^\x00-\x20\x7f](?:[^\x00-\x1f\x7f]*[^\x00-\x20\x7f])?)"
)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,200}")
_SECRET_VARIABLE: Final = re.compile(
    r"[A-Z0-9_]*(?:KEY|KEY_ID|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|AUTH|BEARER)", re.I
)
_OURS: Final = "CASEHARDEN_"


@dataclass(frozen=True, slots=True)
class Reference:
    """Stands for a secret. `before`: a word before it, `Bearer `; `name`: that of a variable, or a path."""

    before: str
    kind: Literal["env", "file"]
    name: str

    @property
    def bare(self) -> str:
        """`env:NAME`"""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True, slots=True)
class Lending:
    """Which secrets of this process callers may name: their values go to the URL next to the reference.

    `variables`: only these; None: every one whose name says that it is a key. `keys_folder`: also files in
    `secrets/` of the data folder, besides those below the allowed roots. `own`: references of this server itself,
    its tokens; like the variables `CASEHARDEN_…` they are lent to nobody.
    """

    variables: tuple[str, ...] | None = None
    keys_folder: bool = True
    own: tuple[str, ...] = ()

    def check_variable(self, name: str, where: str, *, operator: bool = False) -> None:
        """Raise NotAllowed for a variable that may not be named; `operator`: named in the settings of this process."""
        if _is_ours(name) or f"env:{name}" in self.own:
            raise NotAllowed(
                f"{name[:200]} is Caseharden's own and is sent to nobody.",
                where=where,
                allowed="a variable that holds a key of the endpoint",
            )
        if operator or (names_a_key(name) if self.variables is None else name in self.variables):
            return
        raise NotAllowed(
            f"The variable {name[:200]} may not be named here: its value would be sent to that URL.",
            where=where,
            allowed=self._allowed(),
        )

    def _allowed(self) -> str:
        if self.variables is None:
            return f"{KEY_NAMES}; or the operator lists all that are allowed: --allow-env NAME,NAME"
        known = ", ".join(f"env:{name}" for name in self.variables) or "no variable"
        return f"{known}; the operator adds one with --allow-env NAME"


def read_reference(text: str) -> Reference | None:
    """Parse a text as a reference, also after one word: `Bearer env:NAME`; None for any other text."""
    found = _REFERENCE.fullmatch(text)
    if found is None:
        return None
    return Reference(found["before"], cast("Literal['env', 'file']", found["kind"]), found["name"])


def is_variable(name: str) -> bool:
    """Whether it is a valid name of a variable."""
    return _VARIABLE.fullmatch(name) is not None


def holds_a_secret(name: str) -> bool:
    """Whether the variable's name says that it holds a secret, no matter whose."""
    return _SECRET_VARIABLE.fullmatch(name) is not None


def names_a_key(name: str) -> bool:
    """Whether the variable's name says that it holds a key that is not ours: `OPENAI_API_KEY`, `AWS_ACCESS_KEY_ID`."""
    return holds_a_secret(name) and not _is_ours(name)


def check_lent(name: str) -> str:
    """Return the name if it is one of a variable that may be lent. Raises InvalidArgument."""
    if not is_variable(name) or _is_ours(name):
        raise InvalidArgument(
            f"`{name[:200]}` is no variable that can be lent.",
            allowed=f"names such as MY_AGENT_KEY; {_OURS}… are Caseharden's own",
        )
    return name


def _is_ours(name: str) -> bool:
    return name.upper().startswith(_OURS)
