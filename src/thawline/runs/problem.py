"""What all trainings of a run share: the options, the network, the images; and what a training of it costs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from thawline.config import Request
from thawline.model.apply import has_statistics, trainable_size, trains_statistics
from thawline.model.blocks import partition
from thawline.model.load import LoadedModel
from thawline.model.work import WorkTable
from thawline.plan import Block, FineTunePlan, Granularity
from thawline.training.images import LabelledRows, TrainingData


@dataclass
class Problem:
    """One dataset and one network, with the options that every training of them has."""

    request: Request
    """The request, with device, precision and threads resolved."""
    model: LoadedModel
    data: TrainingData
    _blocks: dict[Granularity, tuple[Block, ...]] = field(default_factory=dict, kw_only=True)
    _work: dict[Granularity, WorkTable] = field(default_factory=dict, kw_only=True)

    def blocks(self, granularity: Granularity) -> tuple[Block, ...]:
        """The model's blocks at a granularity."""
        if granularity not in self._blocks:
            self._blocks[granularity] = partition(self.model.module, granularity, self.model.preprocessing.image_size)
        return self._blocks[granularity]

    def work(self, granularity: Granularity) -> WorkTable:
        """The work table: costs of trainings from the FLOPs of every block."""
        if granularity not in self._work:
            blocks = self.blocks(granularity)
            self._work[granularity] = WorkTable.measure(self.model.module, blocks, self.model.preprocessing.image_size)
        return self._work[granularity]

    def boundary(self, plan: FineTunePlan) -> tuple[Granularity, str]:
        """End of the plan's frozen prefix: the granularity and the first trained block."""
        return plan.granularity, self.work(plan.granularity).first_trained(plan)

    def prefix_work(self, plan: FineTunePlan, share: float = 1.0) -> float:
        """Units of work to run the plan's frozen prefix once over every view of a `share` of the training split."""
        images, epochs = self.request.images, self.request.train.epochs
        views = 1 if images.augment == "none" else images.views or epochs
        return self.work(plan.granularity).prefix(
            plan,
            views=min(views, epochs),
            train_images=len(self.data.train),
            validation_images=len(self.data.val),
            nominal_epochs=epochs,
            share=share,
        )

    def training_work(
        self,
        plan: FineTunePlan,
        epochs: int,
        share: float = 1.0,
        further_passes: int = 0,
        solver_iterations: int = 0,
        validated_images: int | None = None,
    ) -> float:
        """Units of work of `epochs` epochs on a `share` of the training split, without the plan's frozen prefix.

        The rest as in `WorkTable.training`.
        """
        return self.work(plan.granularity).training(
            plan,
            epochs_run=epochs,
            nominal_epochs=self.request.train.epochs,
            train_images=len(self.data.train),
            validation_images=len(self.data.val),
            share=share,
            further_passes=further_passes,
            solver_iterations=solver_iterations,
            validated_images=validated_images,
        )

    def teaching_work(self, plan: FineTunePlan, passes: int) -> float:
        """Units of work to forward `passes` images through the networks that a distilled one learns from, at most."""
        return self.training_work(plan.as_ensemble, 0, further_passes=passes) if passes else 0.0

    @property
    def unit_flops(self) -> float:
        """FLOPs of a unit of work, with which those of several networks compare."""
        train, val = len(self.data.train), len(self.data.val)
        return self.work("stage").unit(self.request.train.epochs, train, val)

    def trainable_percent(self, plan: FineTunePlan) -> float:
        """Share of the parameters that a plan trains."""
        blocks = self.blocks(plan.granularity)
        return 100 * trainable_size(self.model.module, blocks, plan) / sum(block.size for block in blocks)

    @property
    def keeps_head(self) -> bool:
        """Whether plans can start from the head of the model that is fitted again."""
        return self.model.kept_head is not None

    @property
    def head_is_known(self) -> bool:
        """Whether that head has a row for every class, so that it need not train."""
        return self.model.kept_head is not None and self.model.kept_head.is_complete

    @property
    def has_statistics(self) -> bool:
        """Whether the network has batch norm (or another norm with running statistics)."""
        return has_statistics(self.model.module)

    def trains_statistics(self, plan: FineTunePlan) -> bool:
        """Whether a block that the plan trains has running statistics, so that the norm mode matters."""
        return trains_statistics(self.model.module, self.blocks(plan.granularity), plan)

    @property
    def refit_images(self) -> LabelledRows:
        """Train and val together."""
        train, val = self.data.train, self.data.val
        return LabelledRows(np.concatenate([train.rows, val.rows]), torch.cat([train.labels, val.labels]))

    @property
    def refit_share(self) -> float:
        """Images of a refit per training image."""
        return 1 + len(self.data.val) / len(self.data.train)
