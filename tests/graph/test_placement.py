"""Where quantizers sit, on graphs small enough to list every place by hand."""

import pytest
import torch
from torch import Tensor, nn

from core.graph.build_inventory import build_inventory
from core.graph.checkpoint import trace
from core.graph.placement import place, place_quantizers
from core.graph.quantized_layers import QuantizedConv2d, QuantizedConvTranspose2d, QuantizedLayer, QuantizedLinear


class Residual(nn.Module):
    """One residual block whose input is read by a layer and by the sum, then an average and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()
        self.body, self.norm, self.last_relu = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()
        self.average, self.flatten, self.head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        x = self.last_relu(torch.add(self.norm(self.body(x)), x))
        return self.head(self.flatten(self.average(x)))


class Concatenated(nn.Module):
    """Two layers read the input; their outputs are joined and read by a layer only."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.after = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1), nn.Conv2d(4, 2, 1)
        self.up = nn.ConvTranspose2d(2, 2, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.after(torch.cat([self.left(x), self.right(x)], 1)))


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def inventoried(network: nn.Module, shape=(3, 8, 8)):
    module = trace(network.eval())
    build_inventory(module, shape, "test")
    return module


def sites_of(module):
    return {site.name: (site.role, site.readers, site.signed) for site in place(module).activation_sites}


def test_each_tensor_and_join_of_a_residual_network_has_its_site():
    assert sites_of(inventoried(Residual())) == {
        "x": ("layer", ("stem",), True),
        "relu.residual": ("residual", ("body",), False),
        "relu": ("layer", ("body",), False),
        "norm.residual": ("residual", (), True),
        "last_relu.residual": ("residual", (), False),
        "flatten": ("layer", ("head",), False),
    }


def test_layers_that_read_one_tensor_share_a_site_and_a_join_read_by_layers_has_no_residual_site():
    assert sites_of(inventoried(Concatenated())) == {
        "x": ("layer", ("left", "right"), True),
        "cat": ("layer", ("after",), True),
        "after": ("layer", ("up",), True),
    }


def test_the_operand_of_a_sum_is_quantized_before_it_is_sliced_and_padded():
    class Shortcut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.relu, self.second = nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 6, 1, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.relu(self.first(x))
            return torch.add(self.second(x), nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1)))

    names = list(sites_of(inventoried(Shortcut())))
    assert names == ["x", "relu.residual", "relu", "second.residual", "add.residual"]


def test_quantizers_that_do_nothing_change_nothing_and_the_original_stays_as_it_was():
    module = inventoried(Residual())
    before = str(module.graph)
    placed = place_quantizers(module, lambda layer: nn.Identity(), lambda site: nn.Identity())
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(placed(x), module(x))
    assert str(module.graph) == before
    assert isinstance(placed.get_submodule("stem"), QuantizedConv2d)
    assert isinstance(placed.get_submodule("head"), QuantizedLinear)


def test_every_quantizer_is_applied_where_its_site_says():
    module = inventoried(Residual())
    placed = place_quantizers(module, lambda layer: Doubled(), lambda site: Doubled())
    stem, body = module.get_submodule("stem"), module.get_submodule("body")
    x = torch.randn(2, 3, 8, 8)

    def doubled(layer, value):
        return nn.functional.conv2d(value, 2 * layer.weight, layer.bias, padding=1)

    read = 2 * torch.relu(doubled(stem, 2 * x))  # the residual site, shared by the sum and the layer
    branch = 2 * module.get_submodule("norm")(doubled(body, 2 * read))
    output = 2 * torch.relu(branch + read)
    head = module.get_submodule("head")
    expected = nn.functional.linear(2 * output.mean((2, 3)), 2 * head.weight, head.bias)
    torch.testing.assert_close(placed(x), expected)


def test_factories_see_each_layer_and_each_site_once():
    module, layers, sites = inventoried(Concatenated()), [], []
    placed = place_quantizers(
        module,
        lambda layer: layers.append(layer.name) or Doubled(),
        lambda site: sites.append(site.name) or nn.Identity(),
    )
    assert layers == ["left", "right", "after", "up"]
    assert sites == ["x", "cat", "after"]
    assert isinstance(placed.get_submodule("up"), QuantizedConvTranspose2d)
    assert all(isinstance(placed.get_submodule(name), QuantizedLayer) for name in layers)
    called = [str(node.target) for node in placed.graph.nodes if "activation_quantizers" in str(node.target)]
    assert called == ["activation_quantizers.x", "activation_quantizers.cat", "activation_quantizers.after"]


def test_gradients_reach_the_float_weight_through_its_quantizer():
    placed = place_quantizers(inventoried(Concatenated()), lambda layer: Doubled(), lambda site: nn.Identity())
    placed(torch.randn(1, 3, 4, 4)).sum().backward()
    for name in ("left", "after", "up"):
        assert placed.get_submodule(name).layer.weight.grad.abs().sum() > 0


class Squeeze(nn.Module):
    """Squeeze and excitation: a tensor times a gate that is computed from its average, then a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.average = nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1)
        self.fewer, self.gate, self.after = nn.Conv2d(4, 4, 1), nn.Sigmoid(), nn.Conv2d(4, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.stem(x)
        return torch.add(self.after(torch.mul(y, self.gate(self.fewer(self.average(y))))), x)


def test_each_operand_of_a_product_has_a_site_of_its_own_and_the_product_the_one_of_its_readers():
    assert sites_of(inventoried(Squeeze())) == {
        "x.residual": ("residual", ("stem",), True),
        "x": ("layer", ("stem",), True),
        "stem.product": ("product", (), True),
        "average": ("layer", ("fewer",), True),
        "gate.product": ("product", (), False),
        "mul": ("layer", ("after",), True),
        "after.residual": ("residual", (), True),
        "add.residual": ("residual", (), True),
    }


def test_only_products_read_the_site_of_a_product():
    placed = place_quantizers(inventoried(Squeeze()), lambda layer: nn.Identity(), lambda site: nn.Identity())
    (product,) = [node for node in placed.graph.nodes if node.target is torch.mul]
    assert [str(each.target) for each in product.args] == [
        "activation_quantizers.stem_product", "activation_quantizers.gate_product",
    ]  # fmt: skip
    (average,) = [node for node in placed.graph.nodes if str(node.target) == "average"]
    assert str(average.args[0].target) == "stem"


class Function(nn.Module):
    """conv -> a function -> what reads it."""

    def __init__(self, function, reader: nn.Module) -> None:
        super().__init__()
        self.conv, self.function, self.reader, self.head = nn.Conv2d(3, 4, 1), function, reader, nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.reader(self.function(self.conv(x))))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.mul(x, torch.sigmoid(x)),
        lambda x: torch.mul(torch.mul(x, 0.5), torch.add(torch.erf(torch.div(x, 1.4142135)), 1.0)),
        lambda x: torch.div(torch.mul(x, torch.clamp(torch.add(x, 3.0), 0.0, 6.0)), 6.0),
        lambda x: torch.mul(x, x),
    ],
    ids=["SiLU", "GELU", "hard swish", "square"],
)
def test_a_function_written_as_a_product_is_no_product(function):
    assert set(sites_of(inventoried(Function(function, nn.Identity())))) == {"x", "reader"}


def test_a_function_of_which_a_sum_reads_a_part_is_a_product():
    def function(x: Tensor) -> Tensor:
        gate = torch.sigmoid(x)
        return torch.add(torch.mul(x, gate), gate)

    names = set(sites_of(inventoried(Function(function, nn.Identity()))))
    assert names == {"x", "conv.product", "sigmoid.residual", "sigmoid.product", "mul.residual", "reader"}


def test_functions_get_a_site_where_they_are_averaged_or_normalised_and_clamps_do_not():
    averaged = inventoried(Function(nn.Hardswish(), nn.AvgPool2d(2)))
    assert set(sites_of(averaged)) == {"x", "function.residual", "reader"}
    assert "function.residual" in sites_of(inventoried(Function(nn.Sigmoid(), nn.BatchNorm2d(4))))
    assert set(sites_of(inventoried(Function(nn.ReLU6(), nn.AvgPool2d(2))))) == {"x", "reader"}
    ending = inventoried(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid()))
    assert "_1.residual" in sites_of(ending)


def test_linear_interpolation_is_a_join_and_nearest_neighbour_is_none():
    linear = sites_of(inventoried(Function(nn.Identity(), nn.Upsample(scale_factor=2, mode="bilinear"))))
    assert set(linear) == {"x", "reader"}
    ending = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Upsample(scale_factor=2, mode="bilinear"))
    assert set(sites_of(inventoried(ending))) == {"input_1", "_1.residual"}
    ending[1].mode = "nearest"
    assert set(sites_of(inventoried(ending))) == {"input_1"}
