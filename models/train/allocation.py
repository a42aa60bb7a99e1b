"""Bit allocation by training: the bytes of each part follow from the gradient of the loss through noise.

After DiffQ (Défossez et al. 2021, arXiv 2104.09987), with the errors of binary codes for those of a grid. The weights
stay as they are. In each step every weight gets Gaussian noise as large as the error of its row in the codes that its
part can have for its present cost, between two options on a line of logarithms; where noise hurts, the gradient asks
for a higher cost. Against it stands a price for each byte (or microsecond): the one at which all parts together keep to
the budget, as a Lagrange multiplier, estimated from the gradients themselves.
"""

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from models.format.layout import matching, matrix_shapes
from models.marian.checkpoint import Checkpoint
from models.quantize.allocate import AllocationError, Cost, Option, Options, coded
from models.train.dataset import Corpus
from models.train.network import Network

RATE = 0.1  # of Adam, on the logits of the costs
BETAS = (0.9, 0.99)
PRICE_MEMORY = 0.95  # from one step to the next
SATURATED = 20.0  # a logit
SMALLEST_ERROR = 1e-8
AVERAGED = 0.5  # of the steps, the last: those of a single one are noisy


def learn(
    checkpoint: Checkpoint, options: Options, cost: Cost, budget: float, corpus: Corpus, steps: int
) -> dict[str, Option]:
    """Learn each part's option; together they cost no more than the budget.

    Args:
        checkpoint: the fp32 model, its rows sorted by word frequency.
        options: of every part; what they lose by themselves is not looked at.
        cost: is summed.
        budget: most that all parts may cost.
        corpus: text to train on, one batch a step.
        steps: how many.

    Raises:
        AllocationError: the cheapest options together cost more than the budget.
    """
    shapes = matrix_shapes(checkpoint.architecture)
    curves = {}
    for part, each in options.items():
        names = matching(shapes, *each[0].rule.match)
        curves[part] = _Curve({name: checkpoint.tensors[name] for name in names}, each, cost)
    least = sum(curve.costs[0].item() for curve in curves.values())
    if least > budget:
        raise AllocationError(f"The budget is {budget:g}, but the least that these options cost is {least:g}.")
    torch.manual_seed(0)
    network = Network(checkpoint)
    logits = torch.zeros(len(curves), requires_grad=True)
    optimizer = torch.optim.Adam([logits], RATE, BETAS)
    late: list[Tensor] = []
    worth = spent = 0.0
    batches = itertools.chain.from_iterable(map(corpus.epoch, itertools.count()))
    for step in tqdm(range(steps), desc="learning the allocation", unit="step"):
        _keep(logits, curves, budget)
        costs = _costs(logits, curves)
        tensors = dict(checkpoint.tensors)
        for curve, cost_now in zip(curves.values(), costs, strict=True):
            tensors |= curve.noisy(cost_now)
        batch = corpus.batch(next(batches))
        loss = network.loss(tensors, batch)
        (gain,) = torch.autograd.grad(loss, logits, retain_graph=True)
        (price_of,) = torch.autograd.grad(costs.sum() / budget, logits)
        worth = PRICE_MEMORY * worth - (gain @ price_of).item()
        spent = PRICE_MEMORY * spent + (price_of @ price_of).item()
        logits.grad = gain + max(worth / spent, 0.0) * price_of
        optimizer.step()
        if step >= int((1 - AVERAGED) * steps):
            late.append(costs.detach())
    return _rounded(curves, torch.stack(late).mean(0), budget)


def _costs(logits: Tensor, curves: Mapping[str, "_Curve"]) -> Tensor:
    return torch.stack([curve.at(share) for curve, share in zip(curves.values(), logits.sigmoid(), strict=True)])


@torch.no_grad()
def _keep(logits: Tensor, curves: Mapping[str, "_Curve"], budget: float) -> None:
    """Shift all logits alike so that the costs are the budget, or as near to it as they come."""
    low, high = -2 * SATURATED, 2 * SATURATED
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if _costs(logits + middle, curves).sum() > budget else (middle, high)
    logits.add_(low).clamp_(-SATURATED, SATURATED)


class _Curve:
    """The options of a part by rising cost and falling error, and the errors of its rows between them."""

    def __init__(self, weights: Mapping[str, Tensor], options: Sequence[Option], cost: Cost) -> None:
        self._weights = weights
        errors = []  # of each option: matrix -> [rows]
        for option in options:
            approximations = {name: coded(each, option.rule.segments(len(each))) for name, each in weights.items()}
            errors.append({name: (weights[name] - each).square().mean(1) for name, each in approximations.items()})
        sums = [sum(each.sum().item() for each in error.values()) for error in errors]
        kept: list[int] = []
        for n in sorted(range(len(options)), key=lambda n: (cost(options[n]), sums[n])):
            if not kept or sums[n] < sums[kept[-1]]:
                kept.append(n)
        self.options = [options[n] for n in kept]
        self.costs = torch.tensor([float(cost(option)) for option in self.options])
        self._log_errors = {
            name: torch.stack([errors[n][name].sqrt().clamp(min=SMALLEST_ERROR).log() for n in kept])
            for name in weights
        }

    def at(self, share: Tensor) -> Tensor:
        """Return the cost at a share, 0 to 1, of the way from the cheapest option to the dearest."""
        return self.costs[0] + share * (self.costs[-1] - self.costs[0])

    def place(self, cost: Tensor) -> tuple[int, Tensor]:
        """Return the dearest option that costs no more, but for the last, and the share of the way from it to the next.

        Of a part with one option the share is 0.
        """
        if len(self.options) == 1:
            return 0, cost.new_zeros(())
        found = int(torch.searchsorted(self.costs, cost.item(), right=True)) - 1
        low = max(min(found, len(self.options) - 2), 0)
        return low, (cost - self.costs[low]) / (self.costs[low + 1] - self.costs[low])

    def noisy(self, cost: Tensor) -> dict[str, Tensor]:
        """Return the weights with noise as large as their error at this cost, which gradients pass to."""
        low, share = self.place(cost)
        return {
            name: self._weights[name]
            + torch.lerp(errors[low], errors[min(low + 1, len(errors) - 1)], share).exp()[:, None]
            * torch.randn_like(self._weights[name])
            for name, errors in self._log_errors.items()
        }


def _rounded(curves: Mapping[str, _Curve], costs: Tensor, budget: float) -> dict[str, Option]:
    """Return every part's option below its cost, then one up where most of the way to the next was gone, if it fits."""
    places = {part: curve.place(cost) for (part, curve), cost in zip(curves.items(), costs, strict=True)}
    chosen = {part: low for part, (low, _) in places.items()}
    total = sum(curve.costs[chosen[part]].item() for part, curve in curves.items())
    can_rise = [part for part, curve in curves.items() if len(curve.options) > 1]
    for part in sorted(can_rise, key=lambda part: -places[part][1].item()):
        costs_of, low = curves[part].costs, chosen[part]
        step = (costs_of[low + 1] - costs_of[low]).item()
        if total + step <= budget:
            chosen[part] += 1
            total += step
    return {part: curve.options[chosen[part]] for part, curve in curves.items()}
