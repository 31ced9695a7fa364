// Audience expressions: read into groups and conditions, and written again, for the builder. The service
// decides what an expression means. docs/audiences.md has the grammar.

/**
 * A value as written: the text, and whether quotes were around it.
 * @typedef {{text: string, quoted: boolean}} Value
 * A comparison of a feature, or of `segment`, with values.
 * @typedef {{kind: "condition", feature: string, operator: string, values: Value[]}} Condition
 * Conditions and groups that are joined by `and` or `or`.
 * @typedef {{kind: "group", join: "and" | "or", not: boolean, parts: (Condition | Group)[]}} Group
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
        const name = feature.toLowerCase() === "segment" ? "segment" : feature;
        if (name !== "segment" && !feature.includes(".")) this.fail();
        const operator = OPERATORS.find((symbol) => this.takeSymbol(symbol));
        if (operator) return condition(name, operator === ":" ? "=" : operator, [this.value()]);
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

    /** Returns `-30d` for `30 days ago`, whose first word was read, and other words as they are. */
    ago(word) {
        const rest = /^\s+(hour|day|week|month|year)s?\s+ago(?![\p{L}\p{N}_.])/iu.exec(this.rest());
        if (!rest || !/^\d+$/.test(word)) return word;
        this.at += rest[0].length;
        return `-${word}${UNITS[rest[1].toLowerCase()]}`;
    }

    value() {
        this.skip();
        const quote = this.text[this.at];
        if (quote !== '"' && quote !== "'") {
            const text = BARE.exec(this.rest())?.[0] ?? this.fail();
            this.at += text.length;
            return { text: this.ago(text), quoted: false };
        }
        let text = "";
        for (this.at += 1; this.at < this.text.length; this.at += 1) {
            const character = this.text[this.at];
            if (character === quote) {
                this.at += 1;
                return { text, quoted: true };
            }
            if (character === "\\") this.at += 1;
            text += this.text[this.at] ?? "";
        }
        return this.fail();
    }
}

/** Returns a condition. @returns {Condition} */
export function condition(feature, operator, values) {
    return { kind: "condition", feature, operator, values };
}

/** Writes an expression; conditions without a value are left out. */
export function print(part) {
    return printPart(part, true) ?? "";
}

function printPart(part, isRoot = false) {
    if (part.kind === "condition") return printCondition(part);
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

function printValue({ text, quoted }) {
    const isPlain =
        !quoted || (PLAIN.test(text) && ![...KEYWORDS, "true", "false"].includes(text.toLowerCase()));
    return isPlain ? text : `"${text.replace(/["\\]/g, String.raw`\$&`)}"`;
}
