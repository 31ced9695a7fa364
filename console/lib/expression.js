// Audience expressions: read into groups and conditions, and written again, for the builder. The service
// decides what an expression means. docs/audiences.md has the grammar.

/**
 * A value: the text, and whether the text needs quotes.
 * @typedef {{text: string, quoted: boolean}} Value
 * A comparison of a feature, or of `segment`, with values.
 * @typedef {{kind: "condition", feature: string, operator: string, values: Value[]}} Condition
 * What customers bought or did: a product, a category or an event, or, without a subject, an order of
 * anything; the period, whose ends may be open; and how often.
 * @typedef {object} EventCondition
 * @property {"event"} kind
 * @property {"bought" | "did"} name
 * @property {boolean} not
 * @property {"product" | "category" | "event" | null} subject
 * @property {string} value Id or name of the subject.
 * @property {Value | null} since
 * @property {Value | null} before
 * @property {{operator: string, number: string}} times
 * Conditions and groups that are joined by `and` or `or`.
 * @typedef {object} Group
 * @property {"group"} kind
 * @property {"and" | "or"} join
 * @property {boolean} not
 * @property {(Condition | EventCondition | Group)[]} parts
 */

const KEYWORDS = ["and", "or", "not", "in", "is", "null"];
const OPERATORS = ["!=", "<=", ">=", ":", "=", "<", ">"];
/** Comparisons with null are unknown also after `not`, so that `not a = b` means `a != b`. */
const OPPOSITES = {
    "=": "!=",
    "!=": "=",
    "<": ">=",
    ">=": "<",
    ">": "<=",
    "<=": ">",
    in: "not in",
    "not in": "in",
    between: "not between",
    "not between": "between",
    contains: "not contains",
    "not contains": "contains",
    "starts with": "not starts with",
    "not starts with": "starts with",
    "ends with": "not ends with",
    "not ends with": "ends with",
    has: "not has",
    "not has": "has",
    "is null": "is not null",
    "is not null": "is null",
};
/** Words of the comparisons of parts: of a text, or of a list. */
const PARTS = [["contains"], ["starts", "with"], ["ends", "with"], ["has"]];
/** Subjects of the functions over events. */
export const SUBJECTS = { bought: ["product", "category"], did: ["event"] };
/** What is meant where an expression does not tell how often. */
const ONCE = { operator: ">=", number: "1" };
/** Symbols of units of time. */
const UNITS = { hour: "h", day: "d", week: "w", month: "mo", year: "y" };
const WORD = /^[\p{L}\p{N}\p{M}_.]+/u;
const BARE = /^[^\s(),"'<>=!]+/u;
/** Texts that mean the same without quotes. */
const PLAIN = /^[\p{L}_][\p{L}\p{N}_-]*$/u;

/** An expression that the builder cannot read, with the place. */
class ExpressionError extends Error {
    constructor(position) {
        super(`unexpected at ${position}`);
        this.position = position;
    }
}

/** Reads an expression. @returns {Group} */
export function parse(text) {
    const reader = new Reader(text);
    const root = asGroup(reader.any());
    reader.skip();
    if (reader.at < text.length) throw new ExpressionError(reader.at);
    return root;
}

function asGroup(part) {
    return part.kind === "group" ? part : group("and", [part]);
}

/** Returns a group. @returns {Group} */
export function group(join, parts, not = false) {
    return { kind: "group", join, not, parts };
}

class Reader {
    constructor(text) {
        this.text = text;
        this.at = 0;
    }

    rest() {
        return this.text.slice(this.at);
    }

    skip() {
        this.at += /^\s*/.exec(this.rest())[0].length;
    }

    fail() {
        throw new ExpressionError(this.at);
    }

    takeSymbol(symbol) {
        this.skip();
        const found = this.text.startsWith(symbol, this.at);
        if (found) this.at += symbol.length;
        return found;
    }

    takeKeyword(keyword) {
        this.skip();
        const found = WORD.exec(this.rest())?.[0].toLowerCase() === keyword;
        if (found) this.at += keyword.length;
        return found;
    }

    any() {
        return this.joined("or", () => this.joined("and", () => this.not()));
    }

    joined(join, part) {
        const parts = [part()];
        while (this.takeKeyword(join)) parts.push(part());
        return parts.length > 1 ? group(join, parts) : parts[0];
    }

    not() {
        if (this.takeKeyword("not")) {
            const inner = this.not();
            if (inner.kind === "condition") return { ...inner, operator: OPPOSITES[inner.operator] };
            // How often a customer bought something is never unknown.
            if (inner.kind === "event") return { ...inner, not: !inner.not };
            return inner.not ? group("and", [inner], true) : { ...inner, not: true };
        }
        if (!this.takeSymbol("(")) return this.condition();
        const inner = this.any();
        if (!this.takeSymbol(")")) this.fail();
        return inner;
    }

    condition() {
        this.skip();
        const feature = WORD.exec(this.rest())?.[0];
        if (!feature || KEYWORDS.includes(feature.toLowerCase())) this.fail();
        this.at += feature.length;
        if (Object.hasOwn(SUBJECTS, feature.toLowerCase())) return this.event(feature.toLowerCase());
        const name = feature.toLowerCase() === "segment" ? "segment" : feature;
        if (name !== "segment" && !feature.includes(".")) this.fail();
        const operator = this.operator();
        if (operator) return condition(name, operator, [this.value()]);
        if (this.takeKeyword("is")) {
            const isNot = this.takeKeyword("not");
            if (!this.takeKeyword("null")) this.fail();
            return condition(name, isNot ? "is not null" : "is null", []);
        }
        const isNot = this.takeKeyword("not");
        const not = (comparison) => (isNot ? OPPOSITES[comparison] : comparison);
        if (this.takeKeyword("between")) {
            const least = this.value();
            if (!this.takeKeyword("and")) this.fail();
            return condition(name, not("between"), [least, this.value()]);
        }
        const words = PARTS.find(([first]) => this.takeKeyword(first));
        if (words) {
            if (words[1] && !this.takeKeyword(words[1])) this.fail();
            return condition(name, not(words.join(" ")), [this.value()]);
        }
        if (!this.takeKeyword("in") || !this.takeSymbol("(")) this.fail();
        const values = [this.value()];
        while (this.takeSymbol(",")) values.push(this.value());
        if (!this.takeSymbol(")")) this.fail();
        return condition(name, isNot ? "not in" : "in", values);
    }

    operator() {
        const operator = OPERATORS.find((symbol) => this.takeSymbol(symbol));
        return operator === ":" ? "=" : operator;
    }

    /** Reads the arguments of a function over events. */
    event(name) {
        const found = {};
        if (!this.takeSymbol("(")) this.fail();
        if (!this.takeSymbol(")")) {
            do this.argument(name, found);
            while (this.takeSymbol(","));
            if (!this.takeSymbol(")")) this.fail();
        }
        if (name === "did" && !found.subject) this.fail();
        return { ...event(name), ...found };
    }

    /** Reads an argument of a function over events into `found`. */
    argument(name, found) {
        const subject = SUBJECTS[name].find((known) => this.takeKeyword(known));
        const key = subject ? "subject" : ["since", "before", "times"].find((one) => this.takeKeyword(one));
        if (!key || key in found) this.fail();
        const operator = this.operator();
        if (!operator || (key !== "times" && operator !== "=")) this.fail();
        if (key === "subject") {
            Object.assign(found, { subject, value: this.name() });
            if (!found.value) this.fail();
        } else if (key === "times") {
            const number = this.word();
            if (!/^\d+$/.test(number)) this.fail();
            found.times = { operator, number: number.replace(/^0+(?=\d)/, "") };
        } else {
            found[key] = this.value();
            if (!found[key].text) this.fail();
        }
    }

    /** Returns `-30d` for `30 days ago`, whose first word was read, and other words as they are. */
    ago(word) {
        const rest = /^\s+(hour|day|week|month|year)s?\s+ago(?![\p{L}\p{N}_.])/iu.exec(this.rest());
        if (!rest || !/^\d+$/.test(word)) return word;
        this.at += rest[0].length;
        return `-${word}${UNITS[rest[1].toLowerCase()]}`;
    }

    /** Reads a bare word. */
    word() {
        this.skip();
        const text = BARE.exec(this.rest())?.[0] ?? this.fail();
        this.at += text.length;
        return text;
    }

    /** Reads a text in quotes, or a bare word that is taken as text. */
    name() {
        this.skip();
        return this.isQuote() ? this.quoted() : this.word();
    }

    /** Whether a text in quotes is next. */
    isQuote() {
        return ['"', "'"].includes(this.text[this.at]);
    }

    value() {
        this.skip();
        if (!this.isQuote()) return { text: this.ago(this.word()), quoted: false };
        const text = this.quoted();
        return { text, quoted: !isPlain(text) };
    }

    quoted() {
        const quote = this.text[this.at];
        let text = "";
        for (this.at += 1; this.at < this.text.length; this.at += 1) {
            const character = this.text[this.at];
            if (character === quote) {
                this.at += 1;
                return text;
            }
            if (character === "\\") {
                this.at += 1;
                if (!['"', "'", "\\"].includes(this.text[this.at])) this.fail();
            }
            text += this.text[this.at];
        }
        return this.fail();
    }
}

/** Returns a condition. @returns {Condition} */
export function condition(feature, operator, values) {
    return { kind: "condition", feature, operator, values };
}

/**
 * Returns a condition on what customers bought or did, at least once at any time.
 * @returns {EventCondition}
 */
export function event(name, subject = name === "did" ? "event" : null) {
    return { kind: "event", name, not: false, subject, value: "", since: null, before: null, times: ONCE };
}

/** Writes an expression; conditions without a value are left out. */
export function print(part) {
    return printPart(part, true) ?? "";
}

function printPart(part, isRoot = false) {
    if (part.kind === "condition") return printCondition(part);
    if (part.kind === "event") return printEvent(part);
    const parts = part.parts.map((inner) => printPart(inner)).filter(Boolean);
    if (parts.length === 0) return null;
    const text = parts.join(` ${part.join} `);
    const isSingle = parts.length === 1;
    if (part.not) return isSingle && !parts[0].startsWith("not ") ? `not ${parts[0]}` : `not (${text})`;
    return isRoot || isSingle ? text : `(${text})`;
}

function printCondition({ feature, operator, values }) {
    if (operator.endsWith("null")) return `${feature} ${operator}`;
    const written = values.filter(({ text, quoted }) => text !== "" || quoted).map(printValue);
    if (written.length === 0) return null;
    if (operator.endsWith("between")) {
        return written.length === 2 ? `${feature} ${operator} ${written.join(" and ")}` : null;
    }
    if (operator.endsWith("in")) return `${feature} ${operator} (${written.join(", ")})`;
    const sign = operator === "=" && !/^[-\d]/.test(written[0]) ? ":" : ` ${operator} `;
    return `${feature}${sign}${written[0]}`;
}

function printEvent({ name, not, subject, value, since, before, times }) {
    if (subject && !value) return null;
    const parts = [
        subject && `${subject}:${printValue({ text: value, quoted: true })}`,
        since?.text && `since:${printValue(since)}`,
        before?.text && `before:${printValue(before)}`,
        times.number && !isOnce(times) && `times ${times.operator} ${times.number}`,
    ];
    return `${not ? "not " : ""}${name}(${parts.filter(Boolean).join(", ")})`;
}

const isOnce = ({ operator, number }) => operator === ONCE.operator && number === ONCE.number;

function printValue({ text, quoted }) {
    return quoted && !isPlain(text) ? `"${text.replace(/["\\]/g, String.raw`\$&`)}"` : text;
}

/** Whether a text means the same without quotes. */
function isPlain(text) {
    return PLAIN.test(text) && ![...KEYWORDS, "true", "false"].includes(text.toLowerCase());
}
