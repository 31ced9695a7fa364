// Counts each expression as it is, and as the builder writes it after reading it. The body of an asynchronous
// function, which tests/it/console.rs runs in the page of audiences.

const { parse, print } = await import("/console/lib/expression.js");

const conditions = [
    "segment:loyal",
    "segment != at_risk",
    "segment in (loyal, 'champions')",
    "segment not in (loyal)",
    "rfm.monetary >= 12.5",
    "rfm.monetary<-1",
    "rfm.frequency in (1, 2,3)",
    "rfm.frequency not in (1)",
    "profile.country:UK",
    'profile.country != "France"',
    "profile.age is null",
    "profile.age is not null",
    "behavior.last_purchase_at >= 2024-02-15",
    "profile.vip = true",
    "rfm.monetary between 10 and 50",
    "rfm.monetary not between 10 and 50",
    'profile.country contains "n"',
    "profile.country not starts with F",
    "profile.country ends with 'K'",
    "behavior.last_purchase_at >= 30 days ago",
    "behavior.last_purchase_at between -2mo and -1w",
    'recommendations.products has "p1"',
    "recommendations.products not has p2",
    'rfm.rfm_score:"155"',
    "bought()",
    "BOUGHT(times = 0)",
    "bought(product:p1)",
    'bought( times>=02 , product = "p1" )',
    "bought(product:'p1', since:30 days ago, before:-1d)",
    'bought(before:"2024-02-15", since:2024-01-01T00:00:00Z)',
    "bought(category:Kitchen, times < 1)",
    "bought(category:\"and\", times != 2)",
    "did(event:view, since:-2mo)",
    'did(event:"to wish, \\"and\\" wait")',
];
/** Expressions that the builder must leave as they are. */
const unreadable = [
    "did()",
    "did(product:p1)",
    "bought",
    "bought(event:view)",
    'bought(product:"")',
    'bought(since:"")',
    "bought(product:p1, category:Kitchen)",
    "bought(since:-1d, since:-2d)",
    "bought(since > -1d)",
    "bought(times >= often)",
    "bought(product:p1, color:red)",
    "bought(product:p1,)",
    "bought(product:p1) times 2",
    'profile.country:"a\\n"',
];

async function count(where) {
    const body = JSON.stringify({ where, limit: 0 });
    const headers = { "content-type": "application/json" };
    const answer = await (await fetch("/v1/audiences", { method: "POST", headers, body })).json();
    return answer.total ?? answer.detail;
}

const wrong = [];
let found = 0;
for (const [index, one] of conditions.entries()) {
    const other = conditions[(index * 7 + 3) % conditions.length];
    const third = conditions[(index * 4 + 1) % conditions.length];
    for (const text of [
        one,
        `not ${one}`,
        `not (${one} or ${other}) and ${third}`,
        `${one} or not (${other} and not ${third})`,
    ]) {
        const written = print(parse(text));
        const [expected, total] = [await count(text), await count(written)];
        const isSame = JSON.stringify(parse(written)) === JSON.stringify(parse(text));
        if (expected !== total || !isSame || print(parse(written)) !== written) {
            wrong.push([text, written, expected, total]);
        }
        if (total > 0) found += 1;
    }
}
for (const text of unreadable) {
    try {
        wrong.push([text, print(parse(text))]);
    } catch ({ position }) {
        if (position === undefined) wrong.push([text]);
    }
}
return { wrong, found };
