"""Ways to code a matrix: all stand for the matrix, state their bits, and lose less with another plane."""

import pytest

torch = pytest.importorskip("torch")

from models.codes.compensate import output_error  # noqa: E402
from tests.bench.methods.coders import CODERS, _cosine, _frame, _hadamard  # noqa: E402


@pytest.mark.parametrize("name", CODERS)
def test_another_plane_lowers_the_error(name: str) -> None:
    generator = torch.Generator().manual_seed(2)
    weights, inputs = torch.randn(32, 96, generator=generator), torch.randn(500, 96, generator=generator)
    moment = (inputs.T @ inputs / 500).double()
    errors = [output_error(weights, moment).sum().item()]
    for planes in (1, 2, 3):
        coded, bits = CODERS[name](weights, planes, moment)
        errors.append(output_error(weights - coded, moment).sum().item())
        assert bits >= planes * weights.numel()
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("basis", [_hadamard(96), _hadamard(96, signs=False), _cosine(96), _frame(96, 106)])
def test_what_turns_the_inputs_can_be_turned_back(basis: "torch.Tensor") -> None:
    torch.testing.assert_close(basis @ basis.T, torch.eye(96), atol=1e-5, rtol=0)
