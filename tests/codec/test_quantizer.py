"""The residual quantizer: frozen prior, moving codebooks, straight-through gradients."""

import pytest
import torch
from torch.nn import functional as F

from almtok.codec.codebook import Codebook
from almtok.codec.quantizer import ResidualQuantizer

from .toy import toy_config


def quantizer(**overrides) -> ResidualQuantizer:
    torch.manual_seed(0)
    return ResidualQuantizer(toy_config(**overrides))


def queries(batch=8, count=40, width=32, seed=1):
    return torch.randn(batch, count, width, generator=torch.Generator().manual_seed(seed))


def test_shapes_and_sum_of_layers():
    out = quantizer().train()(queries())
    assert out.codes.shape == (8, 3, 40) and out.codes.dtype == torch.int64
    assert out.layers.shape == (8, 40, 3, 32)
    torch.testing.assert_close(out.layers.sum(dim=2), out.quantized)
    assert out.commitment_loss.ndim == 0 and out.commitment_loss.item() > 0


def test_quantize_dequantize_forward_agree():
    net = quantizer()
    net.initialize(queries().reshape(-1, 32))
    net.eval()
    x = queries(seed=9)
    out = net(x)
    assert torch.equal(net.quantize(x), out.codes)
    torch.testing.assert_close(net.dequantize(out.codes), out.quantized, atol=1e-6, rtol=1e-5)


def test_each_layer_leaves_less_over():
    net = quantizer(prior_codebooks="none").train()
    x = queries(64, 40)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(100):
        optimizer.zero_grad()
        net(x).commitment_loss.backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        layers = net(x).layers
    errors = [(x - layers[:, :, : k + 1].sum(2)).square().mean() for k in range(3)]
    assert errors[2] < errors[1] < errors[0] < x.square().mean()


KINDS = [
    dict(),
    dict(codebook_dim=32),
    dict(prior_codebooks="none"),
    dict(prior_codebooks="none", codebook_dim=32),
    dict(prior_codebooks="all"),
    dict(num_codebooks=1),
    dict(num_codebooks=8),
]


def kind_id(kind) -> str:
    return "-".join(f"{name}={value}" for name, value in kind.items()) or "default"


@pytest.mark.parametrize("kind", KINDS, ids=kind_id)
@pytest.mark.parametrize("training", [True, False])
def test_the_gradient_goes_straight_through_once(kind, training):
    # paper.md 10.1, defect 5; a straight-through in each of K layers would multiply it by K
    net = quantizer(**kind).train(training)
    pull = queries(seed=5)
    for num_quantizers in range(1, len(net.layers) + 1):
        x = queries().requires_grad_()
        net(x, num_quantizers).quantized.backward(pull)
        assert torch.equal(x.grad, pull)


@pytest.mark.parametrize("kind", KINDS, ids=kind_id)
def test_the_gradient_of_each_layer_goes_straight_through(kind):
    net = quantizer(**kind).train()
    pull = queries(seed=5)
    for layer in range(len(net.layers)):
        x = queries().requires_grad_()
        net(x).layers[:, :, layer].backward(pull)
        assert torch.equal(x.grad, pull)


def test_the_maps_of_a_learned_codebook_follow_what_is_made_of_it():
    # As if entries moved with their latents: output = U (P x), with P and U the two maps
    net = quantizer(num_codebooks=1, prior_codebooks="none").eval()
    layer, x, pull = net.layers[0], queries(), queries(seed=5)
    net(x).quantized.backward(pull)
    g, y = pull.reshape(-1, 32), x.reshape(-1, 32)  # [N, D]
    torch.testing.assert_close(layer.project_in.weight.grad, (g @ layer.project_out.weight).T @ y)
    entries = layer.codebook.lookup(layer.nearest(y))
    torch.testing.assert_close(layer.project_out.weight.grad, g.T @ entries)


def test_losses_train_queries_and_maps_but_no_frozen_entry():
    net = quantizer().train()
    x = queries().requires_grad_()
    out = net(x)
    out.commitment_loss.backward(retain_graph=True)
    assert x.grad.norm() > 0
    assert all(layer.project_out.weight.grad.norm() > 0 for layer in net.layers)
    out.quantized.square().sum().backward()
    assert all(layer.project_in.weight.grad.norm() > 0 for layer in net.layers[1:])
    assert not any(p is net.layers[0].codebook.entries for p in net.parameters())


def test_no_maps_where_codes_live_among_the_queries():
    net = quantizer(codebook_dim=32)
    assert isinstance(net.layers[1].project_in, torch.nn.Identity)
    assert isinstance(net.layers[0].project_out, torch.nn.Linear)  # the prior's space is its own


def test_frozen_codes_are_the_nearest_mapped_entries():
    net = quantizer().eval()
    x = queries().reshape(-1, 32)
    first = net.layers[0]
    assert torch.equal(first.nearest(x), torch.cdist(x, first.table()).argmin(dim=1))


def test_the_map_carries_frozen_entries_after_drifting_queries():
    net = quantizer(num_codebooks=1).train()
    net.load_prior(torch.randn(64, 12) + 2, num_speech=32)
    net.initialize(queries(64, 40).reshape(-1, 32))

    def far(x):
        return 3 * x + 5

    used = len(net.eval()(far(queries(64, 40, seed=3))).codes.unique())
    optimizer = torch.optim.Adam(net.parameters(), 3e-2)
    net.train()
    for step in range(200):
        optimizer.zero_grad()
        net(far(queries(seed=step))).commitment_loss.backward()
        optimizer.step()
    again = len(net.eval()(far(queries(64, 40, seed=3))).codes.unique())
    assert used < 32 and again > 50


def test_the_kept_table_follows_its_map():
    first = quantizer().eval().layers[0]
    with torch.no_grad():
        before = first.table()
        assert first.table() is before
        first.project_out.weight.mul_(2)
        after = first.table()
    torch.testing.assert_close(after, first.project_out(first.codebook.entries))
    assert not torch.equal(before, after)


def test_the_semantic_codebook_never_moves_and_the_others_do():
    net = quantizer().train()
    net.load_prior(torch.randn(64, 12), num_speech=32)
    before = [layer.codebook.entries.clone() for layer in net.layers]
    for seed in range(5):
        net(queries(seed=seed))
    moved = [
        not torch.equal(b, x.codebook.entries) for b, x in zip(before, net.layers, strict=True)
    ]
    assert moved == [False, True, True]


def test_prior_map_start_reaches_most_frozen_entries():
    net = quantizer().train()
    net.load_prior(torch.randn(64, 12) * 5 + 20, num_speech=32)  # far from the queries
    net.initialize(queries(64, 40).reshape(-1, 32))
    net.eval()
    used = net(queries(64, 40, seed=3)).codes[:, 0].unique()
    assert len(used) > 50  # without the start: a handful


def test_prior_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"\(64, 12\).*, got \(64, 13\)"):
        quantizer().load_prior(torch.zeros(64, 13), 32)
    with pytest.raises(ValueError, match="prior_codebooks must be .* got 'none'"):
        quantizer(prior_codebooks="none").load_prior(torch.zeros(64, 12), 32)


@pytest.mark.parametrize(("name", "frozen"), [("first", 1), ("none", 0), ("all", 3)])
def test_which_codebooks_are_frozen(name, frozen):
    net = quantizer(prior_codebooks=name)
    assert [layer.codebook.frozen for layer in net.layers] == [i < frozen for i in range(3)]


def test_any_number_of_layers_and_quantizer_dropout():
    net = quantizer(num_codebooks=8, quantizer_dropout=1.0).train()
    depths = {net(queries(2, 4)).codes.shape[1] for _ in range(60)}
    assert depths == set(range(1, 9))
    assert net.eval()(queries(2, 4)).codes.shape[1] == 8
    assert net(queries(2, 4), num_quantizers=2).codes.shape[1] == 2


def test_float32_under_autocast():
    net = quantizer().eval()
    x = queries()
    plain = net(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = net(x)
    assert cast.quantized.dtype == torch.float32
    assert torch.equal(plain.codes, cast.codes)
    assert torch.equal(plain.quantized, cast.quantized)


def test_a_model_in_half_precision_keeps_its_codebooks():
    net = quantizer().eval()
    codes = net(queries()).codes
    net.to(torch.bfloat16)
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert torch.equal(net(queries()).codes, codes)


def test_nearest_is_the_euclidean_nearest():
    book = Codebook(50, 6, frozen=False)
    x = torch.randn(200, 6)
    assert torch.equal(book.nearest(x), torch.cdist(x, book.entries).argmin(dim=1))


def test_moving_average_against_the_oracle():
    # vector-quantize-pytorch, same start, same data, no revival: the same entries after 20 updates
    vq = pytest.importorskip("vector_quantize_pytorch")
    torch.manual_seed(0)
    book = Codebook(16, 4, frozen=False, decay=0.9, dead_code_ratio=0.0)
    oracle = vq.VectorQuantize(
        dim=4, codebook_size=16, decay=0.9, kmeans_init=False, threshold_ema_dead_code=0,
        commitment_weight=0.0, rotation_trick=False,
    ).train()  # fmt: skip
    oracle._codebook.embed.data.copy_(book.entries[None])
    oracle._codebook.embed_avg.data.copy_(book.entries[None])
    oracle._codebook.cluster_size.data.fill_(1.0)
    for step in range(20):
        x = torch.randn(64, 4, generator=torch.Generator().manual_seed(step))
        codes = book.nearest(x)
        _, theirs, _ = oracle(x[None])
        assert torch.equal(codes, theirs[0])
        book.update(x, codes)
    torch.testing.assert_close(book.entries, oracle._codebook.embed[0], atol=1e-5, rtol=1e-4)


def test_kmeans_start_finds_the_clusters():
    torch.manual_seed(0)
    centres = torch.randn(8, 5) * 10
    x = (centres[torch.randint(8, (800,))] + 0.1 * torch.randn(800, 5))[torch.randperm(800)]
    book = Codebook(8, 5, frozen=False)
    book.initialize(x)
    error = (book.lookup(book.nearest(x)) - x).square().sum(1).mean()
    spread = (x - x.mean(0)).square().sum(1).mean()
    assert error < 0.2 * spread
    assert bool(book.initialised)


@pytest.mark.parametrize("tokens", [16, 64, 4096])
def test_dead_entries_come_back_to_life_at_any_batch_size(tokens):
    torch.manual_seed(0)
    book = Codebook(64, 4, frozen=False)
    with torch.no_grad():
        book.entries[1:] = 1e3  # only entry 0 can be nearest: collapse
        book.total.copy_(book.entries)
    for _ in range(600):
        x = torch.randn(tokens, 4)
        book.update(x, book.nearest(x))
    assert book.usage().usage > 0.6
    assert book.usage().perplexity > 16


def test_a_healthy_codebook_is_left_alone():
    torch.manual_seed(0)
    book = Codebook(64, 4, frozen=False)
    book.initialize(torch.randn(4096, 4))
    for _ in range(50):
        x = torch.randn(512, 4)
        book.update(x, book.nearest(x))
    steady = book.entries.clone()
    x = torch.randn(512, 4)
    book.update(x, book.nearest(x))
    assert (book.entries - steady).norm(dim=1).max() < 0.5  # a revival is a jump


def test_usage_of_the_two_halves():
    book = Codebook(10, 2, frozen=True)
    book.load_centroids(torch.randn(10, 2), num_speech=4)
    for _ in range(2000):
        book.update(torch.zeros(4, 2), torch.tensor([0, 1, 2, 9]))
    usage = book.usage()
    assert usage.speech_usage == pytest.approx(3 / 4)
    assert usage.sound_usage == pytest.approx(1 / 6)
    assert usage.speech_share == pytest.approx(3 / 4, abs=0.01)
    assert usage.perplexity == pytest.approx(4, rel=0.01)


def test_usage_says_nothing_of_halves_without_a_prior():
    assert Codebook(4, 2, frozen=False).usage().speech_usage is None


@pytest.mark.parametrize(("kind", "weight"), [("none", 2.0), ("first", 0.5)])
def test_commitment_is_measured_among_the_queries(kind, weight):
    net = quantizer(
        num_codebooks=1, prior_codebooks=kind, commitment_weight=2.0, prior_commitment_weight=0.5
    )
    net.initialize(queries().reshape(-1, 32))
    net.eval()
    x = queries(seed=4).requires_grad_()
    out = net(x)
    said = net.layers[0].decode(out.codes[:, 0])
    out.commitment_loss.backward()
    # weighted, the pull on the queries; once, the pull on the map out of the code space
    torch.testing.assert_close(out.commitment_loss, (weight + 1) * F.mse_loss(x, said))
    torch.testing.assert_close(x.grad, weight * 2 / x.numel() * (x - said))
    out_of = net.layers[0].project_out.weight
    (pull,) = torch.autograd.grad(F.mse_loss(said, x.detach()), out_of)
    torch.testing.assert_close(out_of.grad, pull)


@pytest.mark.parametrize("kind", ["none", "first", "all"])
def test_every_layer_commits_the_queries_to_what_it_says(kind):
    net = quantizer(prior_codebooks=kind, commitment_weight=2.0, prior_commitment_weight=0.5)
    net.initialize(queries().reshape(-1, 32))
    net.eval()
    x = queries(seed=4).requires_grad_()
    out = net(x)
    out.commitment_loss.backward()
    frozen = {"none": 0, "first": 1, "all": 3}[kind]
    left_over = x.detach()[:, :, None] - out.layers.detach().cumsum(dim=2)  # [B, Q, K, D]
    weights = torch.tensor([0.5] * frozen + [2.0] * (3 - frozen))[:, None]
    torch.testing.assert_close(x.grad, (weights * 2 / x.numel() * left_over).sum(dim=2))
    # And each map learns what its own layer has to say, whatever comes after it.
    for k, layer in enumerate(net.layers):
        before = left_over[:, :, k] + out.layers.detach()[:, :, k]
        own = F.mse_loss(layer.decode(out.codes[:, k]), before)
        (pull,) = torch.autograd.grad(own, layer.project_out.weight)
        torch.testing.assert_close(layer.project_out.weight.grad, pull, atol=1e-6, rtol=1e-4)


def test_the_same_prior_again_keeps_what_was_placed_on_it():
    torch.manual_seed(0)
    net, centroids = quantizer(), torch.randn(64, 12)
    assert not net.load_prior(centroids, num_speech=32)  # other entries than those drawn
    assert not net.load_prior(centroids, num_speech=32)  # not placed yet
    net.initialize(torch.randn(2000, 32))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert net.load_prior(centroids.clone(), num_speech=32)
    assert net.initialized
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not net.load_prior(centroids, num_speech=31)
    assert not net.initialized
