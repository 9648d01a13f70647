"""Which language a document is written in: by its letters, and for Latin letters by its function words. Light and offline.

Chinese, Japanese and Korean differ in their scripts. Languages in Latin letters are told apart by their most frequent words
(Grefenstette 1995, "Comparing two language identification schemes", the method of small words), which needs no model file and is
vectorised over whole blocks. What it reaches on real prose is measured in `benchmarks/language.py`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from trustbase.data.corpus import characters as chars
from trustbase.data.corpus.block import Block, Lookup, Mask, Spans

LANGUAGES = ("zh", "en", "ja", "ko", "de", "fr", "es", "it", "pt", "nl", "other")
HOW = (
    "Chinese, Japanese and Korean by script, languages in Latin letters by their most frequent words; scripts without a rule, languages "
    "without a list and documents without letters are 'other'"
)
#: Function words, as every grammar lists them: articles, prepositions, pronouns, conjunctions, auxiliaries.
WORDS = {
    "en": "a the of and to in is that it was for on are with as at be this have from or had by not but what all were when we there can an "
    "your which their said if do will each about how up out them then she many some so these would other into has more her two "
    "like him could than been who its now no my they you he his i just very really also any only because me our after",
    "de": "der die und das den von zu mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er hat dass sie nach wird "
    "bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur bis mehr durch man sein wurde wenn kann ich "
    "wir ihre seine keine diese dieser dieses wurden sehr",
    "fr": "le la les de des du et est un une dans que qui pour par sur pas plus ne se ce il au aux avec son sont en elle mais ou nous vous "
    "leur cette ces été être avoir fait comme tout ils sa ses je mon très même aussi où peut deux si y lui entre",
    "es": "el la los las de del que y en un una es por con no se su para al lo como más o pero sus le ya fue este ha sí porque esta son "
    "entre cuando muy sin sobre también me hasta hay donde quien desde todo nos ser tiene era eso había estos mi",
    "it": "il la le lo gli di che e è un una in per con non del della dei delle al alla si da come più sono anche nel nella ma ha o questo "
    "questa dal dalla suo sua su essere stato tra se degli ed molto hanno era loro io mi",
    "pt": "o a os as de do da dos das que e é em um uma para com não por no na nos nas se mais como ao à mas foi seu sua ou ser quando "
    "muito há já está eu também pelo pela até isso ela entre depois sem mesmo aos ter são você pode",
    "nl": "de het een en van in is dat op te zijn voor met die niet aan er om ook als dan maar bij nog uit wel door naar heeft hij ze werd "
    "wordt over kan deze tot hun geen of zo meer ik je mijn we wat al dit worden veel was haar",
}
#: Languages that are told from those above only to be called `other`: Polish, Czech and Slovak, Swedish, Danish and Norwegian, Finnish,
#: Hungarian, Romanian, Turkish, Indonesian, Vietnamese, Latin, Esperanto.
OTHERS = {
    "pl": "i w na z się że nie do to jest o jak co po ale tak za od przez jego był dla czy by ma już tego go tylko jej być mi mnie są",
    "cs": "a se v na je že s z do o k to jsem si jako by ale za pro jeho po od tak byl není jen při nebo když už sa som ako nie čo sú",
    "sv": "och att det i en som på är av för med till den har de inte om ett han men var jag sig från vi så kan när nu vid efter sin ska",
    "da": "og at det er en til i på som med for af den de ikke der et har han var jeg men om sig fra kan vil så skal ved hvad mig være",
    "fi": "ja on ei se että oli hän mutta kun niin ovat joka mitä minä kuin tai jos nyt vain sitä olen voi mukaan ole sen myös",
    "hu": "a az és hogy nem is egy volt de meg ez csak mint már van azt ha még el ki mert be ezt lesz minden aki vagy ami",
    "ro": "și în de la cu nu pe o un care a fi din să mai este pentru ce sunt dar ca au fost sau am se ei după prin",
    "tr": "ve bir bu da de için ne ile o çok daha gibi kadar ama ben var olan olarak en sonra değil her mi ki o",
    "id": "yang dan di itu dengan untuk dari ini tidak ke pada adalah ada akan dalam juga saya mereka orang oleh sudah bisa karena",
    "vi": "và là của có không một những được cho trong với đã người này các tôi khi để từ ra như đến nhưng về ở",
    "la": "et in est non ad ut cum quod sed qui si quam esse sunt ex nec aut hoc ab etiam per enim quid",
    "eo": "la kaj de estas en mi ne ke por oni al kiu sed vi li tio se kun el da ĉi plus ĝi pri kiam ili estis",
}
_FEW = 0.06  # least share of function words among the words of a document in one of these languages
_SHORT = 12  # words; shorter texts may hold no function word at all, and are then taken for English if their letters allow it


def languages(block: Block) -> NDArray[np.int8]:
    """The language of each document, as an index into `LANGUAGES`, `(documents,)`."""
    kinds = block.kind_counts
    words = _words_of(block)
    han, kana, hangul = (kinds[:, kind].astype(float) for kind in (chars.HAN, chars.KANA, chars.HANGUL))
    foreign = kinds[:, chars.LETTER]
    total = han + kana + hangul / 2 + foreign / 5 + words  # a character of Chinese says about as much as a word
    latin, clear = _latin(block, words)
    found = np.full(len(block), LANGUAGES.index("other"), np.int8)
    mostly = np.maximum(total, 1) / 2
    found[(words > foreign / 5) & (words >= mostly) & clear] = latin[(words > foreign / 5) & (words >= mostly) & clear]
    east = han + kana >= mostly
    found[east] = np.where(kana[east] > 0.1 * (han + kana)[east], LANGUAGES.index("ja"), LANGUAGES.index("zh"))
    found[(hangul / 2 >= mostly) & ~east] = LANGUAGES.index("ko")
    found[total == 0] = LANGUAGES.index("other")
    return found


def _words_of(block: Block) -> NDArray[np.float64]:
    """Words in Latin letters in each document, `(documents,)`."""
    return block.units.tally(block.kinds[block.units.starts] == chars.LATIN).astype(float)


def _latin(block: Block, words: NDArray[np.float64]) -> tuple[NDArray[np.int8], Mask]:
    """The likeliest language in Latin letters of each document, and whether its words bear it out, `(documents,)` each."""
    known, member = _function_words()
    hits, which = known(block.units.hashes)
    document = np.searchsorted(block.units.first, hits, side="right") - 1
    votes = np.zeros((len(block), member.shape[1]))
    for column in range(member.shape[1]):
        votes[:, column] = np.bincount(document, weights=member[which, column], minlength=len(block))
    best = votes.argmax(1)
    other = LANGUAGES.index("other")
    index = np.array([LANGUAGES.index(name) if name in WORDS else other for name in (*WORDS, *OTHERS)], np.int8)[best]
    enough = votes[np.arange(len(block)), best] >= np.maximum(_FEW * words, 0.5)
    plain = block.counts((block.points > 0x7F) & (block.kinds == chars.LATIN)) == 0
    silent = (votes.sum(1) == 0) & (words < _SHORT) & (words > 0) & plain
    return np.where(silent, np.int8(LANGUAGES.index("en")), index).astype(np.int8), enough | silent


@lru_cache(maxsize=1)
def _function_words() -> tuple[Lookup, NDArray[np.float64]]:
    """All function words, and how much each speaks for each language: less where several share it."""
    spoken = [entry.split() for entry in (*WORDS.values(), *OTHERS.values())]
    every = sorted({word for entry in spoken for word in entry})
    block = Block.of(every)
    hashes = Spans(chars.codes().take(block.points))(block.starts, block.ends)
    member = np.array([[word in entry for entry in map(set, spoken)] for word in every], float)
    member /= member.sum(1, keepdims=True)
    return Lookup(hashes), member
