"""The prior's network: its size, its forms, causality, and the original's outputs with the original's weights."""

import pytest
import torch

from v2a_utils.mappers.model import Prior, RegressionMapper, _bucket

PAPER = {"width": 512, "depth": 12, "heads": 12, "head_dim": 64, "dropout": 0.05}
SMALL = {"width": 32, "depth": 2, "heads": 2, "head_dim": 16}
NAMES = {  # ours -> DALLE2-pytorch's
    "times.weight": "to_time_embeds.0.weight", "query": "learned_query", "null_text": "null_text_encodings",
    "null_condition": "null_text_embeds", "null_noised": "null_image_embed", "norm.weight": "causal_transformer.norm.g",
    "positions.bias.weight": "causal_transformer.rel_pos_bias.relative_attention_bias.weight",
    "out.weight": "causal_transformer.project_out.weight",
}
LAYER_NAMES = {
    "attention.norm.weight": "0.norm.g", "attention.null": "0.null_kv", "attention.queries.weight": "0.to_q.weight",
    "attention.keys_values.weight": "0.to_kv.weight", "attention.out.weight": "0.to_out.0.weight",
    "attention.out_norm.weight": "0.to_out.1.g", "feed.norm.weight": "1.0.g", "feed.up.weight": "1.1.weight",
    "feed.mid_norm.weight": "1.3.g", "feed.down.weight": "1.5.weight",
}


def size(network) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def inputs(dim: int, number: int = 5) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noisy embeddings, times and conditions."""
    generator = torch.Generator().manual_seed(3)
    noisy, condition = torch.randn(2, number, dim, generator=generator)
    return noisy, torch.randint(1000, (number,), generator=generator), condition


def small(seed: int = 0, **changes) -> Prior:
    torch.manual_seed(seed)
    return Prior(6, 8, **(SMALL | changes)).eval()


def test_the_paper_size_has_the_papers_number_of_parameters():
    with torch.device("meta"):
        faithful, lean = Prior(512, 512, **PAPER, null_tokens=77), Prior(512, 512, **PAPER)
    assert size(faithful) == 48_832_896
    assert size(faithful) - size(lean) == 78 * 512  # 77 null tokens and what stands for a dropped noised embedding


@pytest.mark.parametrize("tokens", [1, 77])
def test_with_the_weights_of_dalle2_pytorch_the_outputs_are_the_same(tokens):
    dalle2 = pytest.importorskip("dalle2_pytorch")
    sizes = {"depth": 3, "heads": 4}
    torch.manual_seed(0)
    theirs = dalle2.DiffusionPriorNetwork(dim=128, num_timesteps=1000, max_text_len=tokens, normformer=True,
                                          dim_head=64, attn_dropout=0.05, ff_dropout=0.05, **sizes).eval()
    for parameter in theirs.parameters():  # norms of 1 would hide a swapped one
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    ours = Prior(128, 128, 128, head_dim=64, null_tokens=tokens, **sizes).eval()
    their_names = NAMES | {f"blocks.{layer}.{name}": f"causal_transformer.layers.{layer}.{original}"
                           for layer in range(3) for name, original in LAYER_NAMES.items()}
    state, shapes = theirs.state_dict(), ours.state_dict()
    ours.load_state_dict({name: state[their_names[name]].reshape(shapes[name].shape) for name in shapes})
    noisy, times, condition = inputs(128)
    with torch.inference_mode():
        for given, dropped in ((condition, 0.0), (None, 1.0)):
            wanted = theirs(noisy, times, text_embed=condition, text_cond_drop_prob=dropped,
                            image_cond_drop_prob=dropped)
            assert torch.allclose(ours(noisy, times, given), wanted, atol=1e-5, rtol=0)


def test_relative_positions_are_those_of_t5():
    buckets = _bucket(torch.tensor([0, 1, 15, 16, 17, 18, 19, 127, 128, 5000]))
    assert buckets.tolist() == [0, 1, 15, 16, 16, 16, 17, 31, 31, 31]


def test_without_a_condition_none_is_seen_and_the_noised_embedding_only_in_the_lean_form():
    noisy, times, _ = inputs(8)
    for tokens, same in ((0, False), (3, True)):
        network = small(null_tokens=tokens)
        assert torch.allclose(network(noisy, times, None), network(-noisy, times, None)) is same


def test_rows_that_lose_their_condition_answer_as_without_one():
    network, (noisy, times, _), condition = small(), inputs(8), inputs(6)[2]
    keep = torch.tensor([[True], [False], [True], [False], [True]]).expand(-1, 2)
    mixed, seen, null = (network(noisy, times, *given) for given in ((condition, keep), (condition,), (None,)))
    assert torch.allclose(mixed, torch.where(keep[:, :1], seen, null), atol=1e-6)
    assert not torch.allclose(seen, null, atol=1e-3)


@pytest.mark.parametrize("tokens", [0, 5])
def test_attention_is_causal_and_the_last_block_alone_knows_it_answers_for_the_last_token(tokens):
    network = small(null_tokens=tokens)
    stream = torch.randn(2, tokens + 4, 32, generator=torch.Generator().manual_seed(1))
    changed = torch.cat([stream[:, :-1], -stream[:, -1:]], dim=1)
    block, places = network.blocks[0], network.positions()
    assert torch.allclose(block(stream, *places)[:, :-1], block(changed, *places)[:, :-1], atol=1e-6)
    assert torch.allclose(block(stream, *places)[:, -1:], block(stream, *places, only_last=True), atol=1e-6)


def test_every_parameter_learns():
    network = small(null_tokens=2)
    noisy, times, _ = inputs(8)
    keep = torch.tensor([[True, False], [False, True], [True, True], [False, False], [True, True]])
    network(noisy, times, inputs(6)[2], keep).square().mean().backward()
    assert not [name for name, parameter in network.named_parameters() if parameter.grad is None
                or not parameter.grad.any()]


def test_weights_and_answers_of_a_seed_are_what_they_have_always_been():
    """Trained mappers are loaded by these names, and a pretraining begins with these numbers."""
    noisy, times, condition = inputs(8)
    answer = small(null_tokens=3)(noisy, times, condition[:, :6])
    assert answer[0, :4].tolist() == pytest.approx([0.464929, 0.140688, -0.679814, 1.057694], abs=1e-4)
    torch.manual_seed(0)
    regression = RegressionMapper(6, 8, depth=2)
    assert regression(condition[:, :6])[0, :4].tolist() == pytest.approx([0.545967, -0.496702, -0.242615, -0.025039], abs=1e-4)
    around = {"condition_in.weight", "condition_in.bias", "noised_in.weight", "noised_in.bias"}
    inside = {f"blocks.{number}.{name}" for number in range(2) for name in LAYER_NAMES}
    assert set(small(null_tokens=3).state_dict()) == NAMES.keys() | around | inside
    assert list(regression.state_dict()) == [f"net.{layer}.{part}" for layer in (0, 2, 3, 5, 6)
                                             for part in ("weight", "bias")]
