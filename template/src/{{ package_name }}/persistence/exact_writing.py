"""How a value is stored: as LangGraph's serializer does it, if it comes back.

Plain data takes ormsgpack's fastest way first, which refuses text with lone surrogates and keys that are not text. Only
then is the value walked through for them.
"""

import logging
from collections.abc import Set as AbstractSet
from contextlib import suppress

import ormsgpack
from langgraph.checkpoint.serde.jsonplus import EXT_CONSTRUCTOR_SINGLE_ARG

from .errors import ValueRefused, ValueUnreadable
from .exact_forms import Form, Key, base_of, form_of, key_of, model_dump, narrowed
from .exact_reading import Unpacker
from .exact_text import Odd, has_odd_keys, mended

logger = logging.getLogger(__name__)

_FAST = (
    ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_UUID
)
_ANY_KEYS = _FAST | ormsgpack.OPT_NON_STR_KEYS
DEEPEST = 100  # objects inside one another; Python's own limit comes as an error of any kind, or of none

_FRAMEWORK = ("langchain_core", "langgraph")  # their dictionaries and texts are meant as such

_narrowed: set[type] = set()  # classes that were logged


class Packer:
    """Stores one value. `allowed` are the classes that are restored; `forms` those that were found to come back."""

    def __init__(self, allowed: AbstractSet[Key], forms: dict[type, Form]) -> None:
        self._allowed = allowed
        self._forms = forms
        self._refusal: ValueRefused | None = None  # ormsgpack drops what its callback raises
        self._depth = 0  # objects inside one another

    def pack(self, value: object) -> bytes:
        """Return the value as msgpack. Raises ValueRefused."""
        if self._depth > DEEPEST:
            raise _too_deep()
        self._depth += 1
        try:
            return self._packed(value)
        finally:
            self._depth -= 1

    def _packed(self, value: object) -> bytes:
        try:
            return ormsgpack.packb(value, default=self._default, option=_FAST)
        except TypeError:
            if self._refusal:
                raise self._refusal from None
        try:
            if not has_odd_keys(value):  # or not only: then the text in it is odd
                with suppress(TypeError):
                    return ormsgpack.packb(value, default=self._default, option=_ANY_KEYS)
            return ormsgpack.packb(mended(value), default=self._default, option=_ANY_KEYS)
        except RecursionError:
            raise _too_deep() from None
        except TypeError as error:
            raise (self._refusal or _unpacked(str(error))) from None

    def _default(self, value: object) -> object:
        try:
            if isinstance(value, Odd):
                data = ormsgpack.packb(value.parts, default=self._default, option=_ANY_KEYS)
                return ormsgpack.Ext(EXT_CONSTRUCTOR_SINGLE_ARG, data)
            form = self._forms.get(type(value))
            return self._made(form, value) if form else self._learn(value)
        except ValueRefused as refusal:
            self._refusal = refusal
            raise

    def _made(self, form: Form, value: object) -> object:
        try:
            try:
                return form(value, self.pack)
            except ValueRefused:
                if not hasattr(value, "model_dump"):
                    raise
                # Something inside the model is not restored by itself. The model's annotations may restore it.
                self._refusal = None
                made = model_dump(value, self.pack)
                if self._rebuilt(made, key_of(type(value))) != value:
                    raise
                return made
        except ValueRefused:
            raise
        except TypeError:  # what ormsgpack and LangGraph say of all that they do not know
            raise _refusal(value) from None
        except RecursionError:
            raise _too_deep() from None
        except Exception as error:  # noqa: BLE001 - a class of the team's may raise anything
            raise _refusal(value, f": {type(error).__name__} when it was taken apart") from None

    def _learn(self, value: object) -> object:
        """Store the first value of a class, if values of it come back."""
        kind, base, form = type(value), base_of(value), form_of(value)
        try:
            made = self._made(form, value)
            restored = type(self._rebuilt(made)) is kind
        except ValueRefused:
            if base is None:
                raise
            restored, self._refusal = False, None
        if restored:
            self._forms[kind] = form
            return made
        if base is None:
            raise _refusal(value, restorable=type(self._rebuilt(made, key_of(kind))) is kind)
        _log_narrowed(kind, base)
        self._forms[kind] = lambda value, _: narrowed(value)
        return narrowed(value)

    def _rebuilt(self, made: object, *more: Key) -> object:
        """Return what a later run would read, if that restored the classes in `more` too; None for nothing."""
        try:
            return Unpacker(self._allowed | set(more)).unpack(ormsgpack.packb(made))
        except ValueUnreadable:
            return None


def _log_narrowed(kind: type, base: type) -> None:
    if kind not in _narrowed and kind.__module__.partition(".")[0] not in _FRAMEWORK:
        _narrowed.add(kind)
        name = f"{kind.__module__}.{kind.__qualname__}"
        logger.warning(
            "values of type %s come back as %s: if that matters, add it to checkpoint_types", name, base.__name__
        )


def _refusal(value: object, reason: str = "", *, restorable: bool = False) -> ValueRefused:
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if restorable:
        return ValueRefused(
            f"a value of type {name}, which no later run would restore",
            f"Add it in the agent's door: checkpoint_types = (..., {name})",
        )
    return ValueRefused(f"a value of type {name}, which cannot be restored from a checkpoint{reason}", _remedy(value))


def _remedy(value: object) -> str:
    name = type(value).__qualname__
    if isinstance(value, BaseException):
        return "Store its text: str(error)"
    if hasattr(value, "dtype"):
        return "Store plain numbers: value.item() or value.tolist()"
    if type(value).__module__ in {"builtins", "_thread", "functools"}:
        return "Keep it out of the state: store the plain data that it is made from"
    if "<locals>" in name:
        return "Its class is defined inside a function: move the class to the top level of its module"
    if "." in name:
        return "Its class is defined inside another one: move the class to the top level of its module"
    return "Store a dictionary of its fields, or make its class a dataclass or pydantic model that is built from them"


def _unpacked(reason: str) -> ValueRefused:
    """Return what ormsgpack refused by itself; its texts hold no values."""
    if "64-bit" in reason:
        return ValueRefused("an integer of more than 64 bits", "Store it as text: str(number)")
    if "key" in reason:
        return ValueRefused("a dictionary with keys that cannot be stored", "Store a list of pairs")
    if "ecursion" in reason:
        return _too_deep()
    return ValueRefused(f"a value that cannot be stored: {reason}", "Keep it out of the state")


def _too_deep() -> ValueRefused:
    return ValueRefused("values that are nested too deep, or in themselves", "Store a flatter structure")
