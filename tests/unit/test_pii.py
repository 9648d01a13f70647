"""Personal data in Chinese and English: what is found, what is left alone, and what replaces it."""

from __future__ import annotations

import random

import pytest

from trustbase.data import pii


def resident_id(first17: str) -> str:
    """With the check digit of ISO 7064 MOD 11-2, by the recursive definition of the standard rather than by weights."""
    state = 0
    for digit in first17:
        state = (state + int(digit)) * 2 % 11
    return first17 + "0123456789X"[(12 - state) % 11]


def luhn(first: str) -> str:
    return first + next(
        d for d in "0123456789" if sum(sum(divmod(int(c) * (1 + i % 2), 10)) for i, c in enumerate(reversed(first + d))) % 10 == 0
    )


FOUND = [
    ("邮箱test@example.com请联系我", "email", "test@example.com"),
    ("mail a.b+c@mail.example.co.uk.", "email", "a.b+c@mail.example.co.uk"),
    ("（ｚｈａｎｇ＠ｅｘａｍｐｌｅ．ｃｎ）", "email", "ｚｈａｎｇ＠ｅｘａｍｐｌｅ．ｃｎ"),
    ("我的电话13800138000。", "phone", "13800138000"),
    ("电话１３８００１３８０００，谢谢", "phone", "１３８００１３８０００"),
    ("手机138-0013-8000转李", "phone", "138-0013-8000"),
    ("+86 138 0013 8000", "phone", "+86 138 0013 8000"),
    ("拨打010-62785001咨询", "phone", "010-62785001"),
    ("座机(0755)26001234-801", "phone", "(0755)26001234-801"),
    ("客服400-820-8820", "phone", "400-820-8820"),
    ("call (415) 555-2671 now", "phone", "(415) 555-2671"),
    ("London +44 20 7946 0958", "phone", "+44 20 7946 0958"),
    ("Berlin: +49 (30) 901820", "phone", "+49 (30) 901820"),
    (f"身份证{resident_id('11010519491231002')}，男", "resident_id", resident_id("11010519491231002")),
    ("身份证号为110105194912310021x".replace("21x", "2x"), "resident_id", "11010519491231002x"),
    (f"卡号{luhn('622202123456789012')}到账", "bank_card", luhn("622202123456789012")),
    ("card 4111 1111 1111 1111 ok", "bank_card", "4111 1111 1111 1111"),
    ("服务器192.168.1.10宕机", "ip", "192.168.1.10"),
    ("Tel13912345678", "phone", "13912345678"),
    ("from 2001:db8::8a2e:370:7334 to", "ip", "2001:db8::8a2e:370:7334"),
    ("见https://example.com/a?b=c。谢谢", "url", "https://example.com/a?b=c"),
    ("网站（www.example.cn）更新", "url", "www.example.cn"),
    ("(see http://example.org/a_(b)).", "url", "http://example.org/a_(b)"),
]


@pytest.mark.parametrize(("text", "kind", "piece"), FOUND)
def test_what_is_found_is_found_exactly(text, kind, piece):
    found = pii.find(text)
    assert [(match.kind, text[match.start : match.end]) for match in found] == [(kind, piece)]
    clean, counts = pii.scrub(text)
    assert clean == text.replace(piece, f"<{kind.upper()}>") and counts == {kind: 1}
    assert pii.scrub(text, [other for other in pii.KINDS if other != kind and not (kind == "url" and other in ("email", "ip"))])[0] == text


@pytest.mark.parametrize(
    "text",
    [
        "圆周率是3.14159265358979",
        "人口1400000000，面积9600000",
        "订单号20240115123456789已发货",
        "2008-08-08 20:08:08",
        "v1.2.3.4，版本1.2.3.4.5 和 13.800.138.000",
        "ISBN 978-7-111-54742-6",
        "std::vector<a::b> 12:30:45",
        "比分 3@5，价格@10",
        "user@localhost",
        "4111 1111 1111 1112",  # checksum
        "110105194912310021",  # checksum
        "999.999.999.999",
        "第12345678901234567890号",
        "平均0.8－1.10.2",
    ],
)
def test_numbers_and_signs_that_are_nobody_s_are_left_alone(text):
    assert pii.scrub(text) == (text, {})


def test_the_checksum_of_a_resident_number_catches_every_wrong_digit_and_every_swap():
    rng = random.Random(0)
    for _ in range(30):
        born = f"19{rng.randint(50, 99)}0{rng.randint(1, 9)}1{rng.randint(0, 9)}"
        good = resident_id(f"{rng.choice([110105, 310101, 440301])}{born}{rng.randint(0, 999):03d}")
        assert pii.is_resident_id(good)
        for place in range(18):
            for digit in "0123456789":
                other = good[:place] + digit + good[place + 1 :]
                assert other == good or not pii.is_resident_id(other)
    assert not pii.is_resident_id(resident_id("11010519490231002")), "31 February"
    assert not pii.is_resident_id(resident_id("00010519491231002")), "no such province"


def test_luhn_agrees_with_the_standard_s_numbers():
    good = ["4111111111111111", "5500005555555559", "371449635398431", "6011111111111117", "3530111333300000", "6200000000000005"]
    assert all(map(pii.is_luhn, good)) and all(pii.scrub(number)[1] == {"bank_card": 1} for number in good)
    assert not any(pii.is_luhn(number[:-1] + str((int(number[-1]) + 1) % 10)) for number in good)


def test_several_kinds_in_one_sentence_do_not_eat_each_other():
    text = f"张三，13800138000，zhang@example.com，{resident_id('31010119900307001')}，http://10.0.0.1/x@y，IP10.0.0.2"
    clean, counts = pii.scrub(text)
    assert clean == "张三，<PHONE>，<EMAIL>，<RESIDENT_ID>，<URL>，IP<IP>"
    assert counts["url"] == counts["ip"] == counts["email"] == counts["phone"] == counts["resident_id"] == 1
    assert pii.scrub(clean)[0] == clean, "scrubbing twice changes nothing"


def test_a_long_text_without_any_is_passed_in_linear_time():
    import time

    spent = []
    for size in (50_000, 200_000):
        text = "a.b-c_" * (size // 6) + "1 2-3 " * (size // 6)
        start = time.process_time()
        assert pii.scrub(text)[1] == {}
        spent.append(time.process_time() - start)
    assert spent[1] < 12 * spent[0] + 0.05
