"""Duplicates and contamination: signatures against true similarity and against datasketch, decisions against brute force."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from trustbase.data.corpus import duplicates
from trustbase.data.corpus.block import Block
from trustbase.data.corpus.contamination import TestGrams, make_grams
from trustbase.data.corpus.duplicates import EXACT, KEPT, NEAR, Decision, Shards, drop_exact, drop_near
from trustbase.data.corpus.minhash import band_hashes, choose_bands, short, signatures, similarity
from trustbase.data.corpus.options import NearOptions

WORDS = [f"w{i}" for i in range(3000)]
SIGNS = [chr(point) for point in range(0x4E00, 0x4E00 + 3000)]


def changed(units: list[str], count: int, rng: random.Random, pool: list[str]) -> list[str]:
    found = list(units)
    for place in rng.sample(range(len(found)), count):
        found[place] = rng.choice(pool)
    return found


def shingles(units: list[str], size: int = 5) -> set:
    return {tuple(units[i : i + size]) for i in range(len(units) - size + 1)}


def jaccard(a: list[str], b: list[str]) -> float:
    one, other = shingles(a), shingles(b)
    return len(one & other) / len(one | other)


def pairs(count: int, rng: random.Random, pool: list[str], joint: str) -> tuple[list[str], list[str], np.ndarray]:
    first = [[rng.choice(pool) for _ in range(rng.randint(60, 300))] for _ in range(count)]
    second = [changed(units, rng.randint(0, len(units) // 12), rng, pool) for units in first]
    truth = np.array([jaccard(a, b) for a, b in zip(first, second, strict=True)])
    return [joint.join(units) for units in first], [joint.join(units) for units in second], truth


@pytest.mark.parametrize(("pool", "joint"), [(WORDS, " "), (SIGNS, "")], ids=["english", "chinese"])
def test_signatures_estimate_the_similarity_of_shingles_as_theory_says(pool, joint):
    one, other, truth = pairs(400, random.Random(1), pool, joint)
    options = NearOptions()
    found = [short(signatures(Block.of(texts), options)) for texts in (one, other)]
    error = similarity(*found) - truth
    expected = np.sqrt(truth * (1 - truth) / options.permutations)
    assert 0.2 < truth.min() < 0.6 < truth.max()
    assert abs(error.mean()) < 4 * expected.mean() / np.sqrt(400), "biased"
    assert 0.85 < np.sqrt((error**2).sum() / (expected**2).sum()) < 1.15, "not the spread of 128 independent permutations"


def test_signatures_do_as_well_as_those_of_datasketch():
    datasketch = pytest.importorskip("datasketch")
    one, other, truth = pairs(80, random.Random(2), WORDS, " ")

    def theirs(text: str):
        made = datasketch.MinHash(num_perm=128)
        made.update_batch([" ".join(gram).encode() for gram in shingles(text.split())])
        return made

    ours = similarity(*(short(signatures(Block.of(texts), NearOptions())) for texts in (one, other)))
    peers = np.array([theirs(a).jaccard(theirs(b)) for a, b in zip(one, other, strict=True)])
    ours_error, peers_error = np.abs(ours - truth).mean(), np.abs(peers - truth).mean()
    assert ours_error < 1.5 * peers_error and np.abs(ours - peers).max() < 0.25


def test_signatures_do_not_depend_on_the_other_documents_of_a_block():
    one, other, _ = pairs(150, random.Random(3), WORDS, " ")
    texts = [text for pair in zip(one, other, strict=True) for text in pair] + ["", "短", "two words", "。。。"]
    together = signatures(Block.of(texts), NearOptions(permutations=32))
    alone = np.concatenate([signatures(Block.of([text]), NearOptions(permutations=32)) for text in texts])
    np.testing.assert_array_equal(together, alone)
    bands = band_hashes(together, choose_bands(0.8, 32))
    assert (bands[-1] == 0).all() and (bands[-4] == 0).all() and (bands[:-4] != 0).all() and (bands[-3:-1] != 0).all()


def test_bands_let_similar_documents_meet():
    for least in (0.5, 0.8, 0.9):
        bands = choose_bands(least, 128)
        assert bands.count * bands.rows <= 128

        def meet(similar: float, bands=bands) -> float:
            return 1 - (1 - similar**bands.rows) ** bands.count

        assert meet(least + 0.05) > 0.88 and meet(least - 0.3) < 0.35


def write_shards(folder: Path, shards: list[list[str]], near: NearOptions | None = None) -> Shards:
    """Tables as `make_shard` leaves them, made by hand."""
    import hashlib

    folders = []
    for number, texts in enumerate(shards):
        own = folder / f"s{number}"
        own.mkdir(parents=True)
        data = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]
        (own / "hashes.bin").write_bytes(np.frombuffer(b"".join(data), ">u8").astype("<u8").tobytes())
        if near is not None:
            found = signatures(Block.of(texts), near)
            (own / "signatures.bin").write_bytes(short(found).tobytes())
            (own / "bands.bin").write_bytes(band_hashes(found, choose_bands(near.similarity, near.permutations)).tobytes())
        folders.append(own)
    return Shards(folders, [len(texts) for texts in shards])


@pytest.mark.parametrize("rows", [3, 1000], ids=["many passes", "one pass"])
def test_exact_duplicates_are_all_but_the_first(tmp_path, rows):
    rng = random.Random(4)
    shards = [[rng.choice("甲乙丙丁戊abcde") * rng.randint(1, 3) for _ in range(20)] for _ in range(4)] + [[]]
    decision = Decision(np.zeros(80, np.uint8))
    drop_exact(write_shards(tmp_path, shards), decision, rows=rows)
    texts = [text for shard in shards for text in shard]
    assert decision.state.tolist() == [EXACT if text in texts[:place] else KEPT for place, text in enumerate(texts)]
    assert decision.examples[EXACT] and all(texts[a] == texts[b] and b < a for a, b in decision.examples[EXACT])


def test_two_documents_that_share_only_half_a_hash_both_stay(tmp_path):
    shards = write_shards(tmp_path, [["a", "b", "c", "d"]])
    hashes = np.array([[7, 1], [7, 2], [7, 1], [8, 1]], "<u8")
    (shards.folders[0] / "hashes.bin").write_bytes(hashes.tobytes())
    decision = Decision(np.zeros(4, np.uint8))
    drop_exact(shards, decision)
    assert decision.state.tolist() == [KEPT, KEPT, EXACT, KEPT]


@pytest.mark.parametrize(("pool", "joint"), [(WORDS, " "), (SIGNS, "")], ids=["english", "chinese"])
def test_near_duplicates_fall_and_others_stay(tmp_path, pool, joint):
    rng = random.Random(5)
    base = [[rng.choice(pool) for _ in range(200)] for _ in range(60)]
    alike = [changed(units, 2, rng, pool) for units in base]  # similarity about 0.9
    apart = [changed(units, 25, rng, pool) for units in base]  # about 0.3
    near = NearOptions()
    shards = write_shards(tmp_path, [[joint.join(units) for units in part] for part in (base, alike, apart)], near)
    decision = Decision(np.zeros(180, np.uint8))
    decision.state[0] = EXACT  # fell already: nothing falls to it
    drop_near(shards, decision, bands=choose_bands(near.similarity, near.permutations).count, least=near.similarity, rows=70)
    state = decision.state
    assert (state[:60] == [EXACT] + [KEPT] * 59).all() and (state[120:] == KEPT).all()
    truth = np.array([jaccard(a, b) for a, b in zip(base, alike, strict=True)])
    assert state[60] == KEPT and (state[61:120] == NEAR).sum() >= 57, truth
    assert all(a - 60 == b for a, b in decision.examples[NEAR])


def test_a_group_with_two_leaders_keeps_both(tmp_path, monkeypatch):
    """Three documents share a band by chance: the third is like the second, not like the first."""
    shards = write_shards(tmp_path, [["a", "b", "c"]])
    (shards.folders[0] / "bands.bin").write_bytes(np.full((3, 1), 9, "<u8").tobytes())
    rows = np.array([[1] * 10, [2] * 10, [2] * 9 + [3]], "<u2")
    (shards.folders[0] / "signatures.bin").write_bytes(rows.tobytes())
    decision = Decision(np.zeros(3, np.uint8))
    drop_near(shards, decision, bands=1, least=0.8)
    assert decision.state.tolist() == [KEPT, KEPT, NEAR] and decision.examples[NEAR] == [(2, 1)]
    assert duplicates.REASONS[NEAR] == "near duplicate"


TEST_ZH = "这家酒店的位置非常方便，离地铁站步行只要五分钟，早餐也很丰富。"
TEST_EN = "The quick brown fox jumped over the lazy dog while seven small children were watching from the garden wall."


def look(sets: list[tuple[str, list[str]]], documents: list[str], ngram: int = 13) -> list[tuple[int, int]]:
    grams = make_grams([(name, Block.of(texts)) for name, texts in sets], ngram)
    found, hits = grams.find(Block.of(documents))
    return sorted(
        {(int(document), int(text)) for document, hit in zip(found, hits, strict=True) for text in grams.texts_of(np.array([hit]))}
    )


def test_a_shared_gram_is_found_in_both_languages_and_less_is_not():
    documents = [
        "前面的话。" + TEST_ZH[3:20] + "后面的话",  # 16 characters and signs in a row
        "前面的话。" + TEST_ZH[3:14] + "后面的话",
        "He wrote: THE QUICK BROWN FOX jumped over the lazy dog, while seven small children slept.",
        "The quick brown fox jumped over the lazy dog.",
        "",
    ]
    assert look([("zh", [TEST_ZH]), ("en", [TEST_EN])], documents) == [(0, 0), (2, 1)]


def test_short_test_texts_are_found_only_as_whole_documents_or_lines():
    short_texts = ["质量很好", "so good", "好"]
    documents = ["质量很好！", "我觉得质量很好，下次再来", "第一行\n质量很好。\n第三行", "So good!", "it was so good that", "好"]
    assert look([("t", short_texts)], documents) == [(0, 0), (2, 0), (3, 1)], "one unit alone can not be looked for"


def test_grams_are_those_of_brute_force(tmp_path):
    rng = random.Random(6)
    tests = [[rng.choice(SIGNS[:3]) for _ in range(rng.randint(0, 14))] for _ in range(40)]
    documents = [[rng.choice(SIGNS[:3]) for _ in range(rng.randint(0, 30))] for _ in range(60)]
    expected = set()
    for d, document in enumerate(documents):
        for t, test in enumerate(tests):
            if len(test) >= 6 and shingles(test, 6) & shingles(document, 6):
                expected.add((d, t))
            if 2 <= len(test) < 6 and test == document:
                expected.add((d, t))
    sets = [("first", ["".join(t) for t in tests[:15]]), ("second", ["".join(t) for t in tests[15:]])]
    assert look(sets, ["".join(d) for d in documents], 6) == sorted(expected) and len(expected) > 20
    grams = make_grams([(name, Block.of(texts)) for name, texts in sets], 6)
    grams.save(tmp_path / "grams")
    again = TestGrams.open(tmp_path / "grams")
    assert again.names == ("first", "second") and again.sizes == (15, 25)
    assert again.set_of(np.array([0, 14, 15, 39])).tolist() == [0, 0, 1, 1]
    block = Block.of(["".join(d) for d in documents])
    assert [found.tolist() for found in again.find(block)] == [found.tolist() for found in grams.find(block)]
