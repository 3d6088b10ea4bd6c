"""Words as a condition: what a caption becomes, attention by its formula, and that what is said matters, each word in its place."""

import pytest
import torch
from test_nets import seed, woken

import tinyddpm as td
from tinyddpm.text import HEADS, CrossAttention, attend

WORDS = ["a", "blue", "circle", "red", "square"]


def text(**options):
    torch.manual_seed(0)
    return td.Text(WORDS, **{"length": 6, "size": 16, **options})


def test_words_become_their_numbers_and_nothing_is_all_zeros():
    assert text().tokens("A red circle, a blue square").tolist() == [1, 4, 3, 1, 2, 5]
    assert text().tokens("").tolist() == [0] * 6 == text().null.tolist()


def test_attention_is_softmax_of_the_scaled_products_times_the_values():
    q, k, v = (torch.randn(2, n, 8, generator=seed(n), dtype=torch.float64) for n in (3, 5, 5))
    by_hand = torch.empty(2, 3, 8, dtype=torch.float64)
    for head in range(HEADS):
        part = slice(2 * head, 2 * head + 2)
        scores = torch.einsum("bnd,bmd->bnm", q[..., part], k[..., part]) / 2**0.5
        weights = scores.exp() / scores.exp().sum(2, keepdim=True)
        by_hand[..., part] = weights @ v[..., part]
    torch.testing.assert_close(attend(q, k, v), by_hand)


def test_attention_to_equal_values_returns_them_because_its_weights_add_up_to_1():
    q, k = (torch.randn(2, n, 8, generator=seed(n)) for n in (3, 5))
    torch.testing.assert_close(attend(q, k, torch.full((2, 5, 8), 0.7)), torch.full((2, 3, 8), 0.7))


def test_order_matters_only_through_positions():
    condition, order = text(), torch.tensor([3, 1, 4, 0, 2, 5])
    c = condition.tokens("a red circle a blue square")[None]
    assert not torch.allclose(condition(c[:, order]), condition(c)[:, order], atol=1e-2)
    with torch.no_grad():
        condition.position.zero_()
    torch.testing.assert_close(condition(c[:, order]), condition(c)[:, order])


def test_a_place_finds_the_same_in_words_in_any_order():
    torch.manual_seed(0)
    cross = CrossAttention(8, 16)
    torch.nn.init.normal_(cross.out.weight)
    h, words = torch.randn(2, 8, 4, 4), torch.randn(2, 6, 16)
    torch.testing.assert_close(cross(h, words), cross(h, words[:, [3, 1, 4, 0, 2, 5]]))
    assert not torch.allclose(cross(h, words), cross(h, words.flip(0)), atol=1e-3)


def network():
    return woken(td.UNet(1, 8, condition=text()))


def test_each_word_matters_to_the_network_and_saying_nothing_is_the_null():
    net, xt, t = network(), torch.randn(1, 1, 8, 8, generator=seed(0)), torch.tensor([3])

    def answer(caption):
        return net(xt, t, net.condition.tokens(caption)[None])

    said = answer("a red circle a blue square")
    for other in ("a blue circle a blue square", "a blue square a red circle", "a red circle a blue", ""):
        assert not torch.allclose(answer(other), said, atol=1e-5)
    torch.testing.assert_close(answer(""), net(xt, t), rtol=0, atol=0)


def test_a_model_is_told_captions_and_trained_with_them_and_kept(tmp_path):
    ddpm = td.DDPM(network(), td.Schedule.cosine(4))
    captions = ["a red circle", "a blue square", ""]
    td.fit(ddpm, torch.randn(3, 1, 8, 8), steps=2, batch_size=4, progress=False, c=captions, drop=0.5)
    assert ddpm(torch.zeros(3, 1, 8, 8), c=captions).isfinite()  # by the public door, where the empty caption may stand too
    start = torch.randn(3, 1, 8, 8, generator=seed(1))
    told = ddpm.given(captions, guidance=2.0).sample_ddim(start.shape, 2, x_T=start)
    alone = ddpm.given("a red circle", 2.0).sample_ddim((1, 1, 8, 8), 2, x_T=start[:1])
    nothing = ddpm.sample_ddim((1, 1, 8, 8), 2, x_T=start[2:])
    torch.testing.assert_close(told[[0, 2]], torch.cat([alone, nothing]), rtol=1e-4, atol=1e-4)
    ddpm.save(tmp_path)
    again = td.load(tmp_path).given(captions, guidance=2.0).sample_ddim(start.shape, 2, x_T=start)
    torch.testing.assert_close(again, told, rtol=0, atol=0)


def test_a_network_for_points_has_no_places_that_could_look_at_words():
    with pytest.raises(TypeError, match=r"^condition is a Text, which an MLP has no places to look at: take a UNet$"):
        td.MLP(2, condition=text())


@pytest.mark.parametrize(
    ("caption", "error", "message"),
    [
        (3, TypeError, r"^c is of type int, expected a caption, a list of captions or a Tensor$"),
        ("a rde circle", ValueError, "^c = 'a rde circle' has the unknown word 'rde': the nearest known word is 'red'$"),
        ("zzz", ValueError, "^c = 'zzz' has the unknown word 'zzz': the known words are a, blue, circle, red, square$"),
        ("a " * 7, ValueError, "has 7 words, expected at most 6$"),
        (["a red circle", None], TypeError, r"^c\[1\] = None is of type NoneType, expected a string$"),
        ([], ValueError, r"^c = \[\] is empty, expected at least one caption$"),
        (torch.zeros(3, 5).long(), ValueError, r"^c has shape \(3, 5\), expected \(6,\) or \(batch, 6\)$"),
        (torch.full((1, 6), 9), ValueError, r"^c has the number 9, expected 0 for no word, or 1 to 5$"),
        (torch.zeros(6), TypeError, "^c has dtype torch.float32"),
    ],
)
def test_what_is_no_caption_is_named(caption, error, message):
    with pytest.raises(error, match=message):
        td.DDPM(network(), td.Schedule.cosine(4)).given(caption)
