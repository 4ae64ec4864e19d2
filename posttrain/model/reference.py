"""The reference model: the base, whose predictions on text a trained model is compared with."""

import copy
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from peft import PeftModel

from posttrain.model.adapters import adapters_off
from posttrain.model.speech_llama import SpeechLlama


@dataclass(frozen=True)
class Reference:
    """The base of a model: its own weights with adapters off or, if these were trained too, another model."""

    llama: SpeechLlama
    """The model that is compared."""
    base: SpeechLlama | None = None
    """Its base; None if that is the model with adapters off."""

    @classmethod
    def before_training(cls, llama: SpeechLlama) -> "Reference":
        """The model as it is now. Without an adapter this is a frozen copy, which takes as much memory again."""
        if isinstance(llama.model, PeftModel):
            return cls(llama)
        return cls(llama, dataclasses.replace(llama, model=copy.deepcopy(llama.model).requires_grad_(False).eval()))

    @property
    def itself(self) -> bool:
        """Whether model and base are one: there is nothing to switch off."""
        return self.base is None and not isinstance(self.llama.model, PeftModel)

    @contextmanager
    def loaded(self) -> Iterator[SpeechLlama]:
        """The reference model, to be run inside this block only."""
        if self.base is not None:
            yield self.base
        else:
            with adapters_off(self.llama.model):
                yield self.llama
