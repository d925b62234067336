"""The network in training: that of each stage one after the other, the caller's own in the last."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from core.errors import InvalidSpecification
from core.jobs.specification import TrainingChoice
from core.training.checkpoint import Checkpoint
from core.training.optimiser import Optimiser
from core.training.way import Way


@dataclass(frozen=True)
class Moment:
    """An epoch's place: `stage` from 1, `done` of the stage's `epochs` before it."""

    epoch: int
    stage: int
    done: int
    epochs: int


class Course:
    """`network` and `optimiser` are those of the stage that was entered last. Each stage has an optimiser of its own,
    and runs through the learning rate's whole schedule."""

    network: nn.Module
    optimiser: Optimiser

    def __init__(self, model: nn.Module, choice: TrainingChoice, way: Way | None) -> None:
        if way is None and (choice.progressive_bits or choice.block_order != "together"):
            raise InvalidSpecification(
                "progressive bits and an order of blocks need the way from the float network to the policy",
                hint="build it with way_to()",
            )
        self._model, self._choice, self._way = model, choice, way
        self._epochs = [choice.epochs] if way is None else [stage.epochs for stage in way.stages]
        self._entered = 0

    @property
    def last_stage(self) -> int:
        """Its number: how many stages there are."""
        return len(self._epochs)

    def moment(self, epoch: int) -> Moment:
        """Where an epoch, counted from 1, stands."""
        done = epoch - 1
        for stage, epochs in enumerate(self._epochs, 1):
            if done < epochs:
                return Moment(epoch, stage, done, epochs)
            done -= epochs
        raise ValueError(f"the training has no epoch {epoch}")

    def enter(self, moment: Moment) -> None:
        """Be in the stage of that moment: its network goes on from the one before, if there was one."""
        if moment.stage == self._entered:
            return
        network = self._network_of(moment.stage)
        if self._entered and self._way is not None:
            self._way.quantization.carry_over(self.network, network)  # type: ignore[arg-type]
        self.network, self.optimiser = network, Optimiser(network, self._choice)
        self._entered = moment.stage

    def resume(self, state: Checkpoint) -> bool:
        """Go on behind the checkpoint's last epoch; False where it is of another network."""
        moment = self.moment(len(state.history))
        network = self._network_of(moment.stage)
        shapes = {name: value.shape for name, value in network.state_dict().items()}
        if shapes != {name: value.shape for name, value in state.model.items()}:
            return False
        self.enter(moment)
        self.network.load_state_dict(state.model)
        self.optimiser.set_state(state.optimiser)
        return True

    def _network_of(self, stage: int) -> nn.Module:
        if self._way is None or stage == self.last_stage:
            return self._model
        device = next(self._model.parameters()).device
        return self._way.quantization.network(self._way.stages[stage - 1].policy).to(device)
