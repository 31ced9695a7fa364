// A client of Larder with `fetch` only. Node.js 22.18 or later runs the file as it is:
//
//   node examples/client.ts [SEGMENT]
//
// prints the size of a segment, its first customer, a batch, and an audience. LARDER_URL is the address of the
// service (http://127.0.0.1:8080), LARDER_KEY an API key, if the service has keys.

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
type Views = Record<string, Record<string, Json> | null>;
type Member = { rank: number; customer_id: string; views?: Views };
type Page = { total: number; customers: Member[]; next: string | null };
type Result = { customer_id: string; found: boolean; views?: Views };
type Query = Record<string, string>;

/** An error response: RFC 9457 problem details. */
class LarderError extends Error {
  readonly status: number;
  /** `customer-not-found` of `urn:larder:problem:customer-not-found`. */
  readonly kind: string;

  constructor(status: number, problem: { type?: string; title?: string; detail?: string }) {
    super(`${status} ${problem.title}: ${problem.detail}`);
    this.status = status;
    this.kind = problem.type?.split(":").at(-1) ?? "";
  }
}

class Larder {
  private readonly url: string;
  private readonly key?: string;

  constructor(url = "http://127.0.0.1:8080", key?: string) {
    this.url = url;
    this.key = key;
  }

  /** Returns the views of a customer, or null if the customer is unknown. */
  async customer(id: string, views?: string[]): Promise<Views | null> {
    const query: Query = views ? { views: views.join(",") } : {};
    try {
      return (await this.request<{ views: Views }>(`/v1/customers/${encodeURIComponent(id)}`, query)).views;
    } catch (error) {
      if (error instanceof LarderError && error.kind === "customer-not-found") return null;
      throw error;
    }
  }

  /** Returns one result per id (at most 1,000), in the order of the ids. */
  async customers(ids: string[], features: string[]): Promise<Result[]> {
    return (await this.request<{ results: Result[] }>("/v1/customers/batch", {}, { ids, features })).results;
  }

  /** Yields all customers of a segment, best first; all pages are of the same snapshot. */
  async *segment(name: string, views?: string[], limit = 1_000): AsyncGenerator<Member> {
    const query: Query = { limit: String(limit) };
    if (views) query.views = views.join(",");
    for (;;) {
      const page = await this.request<Page>(`/v1/segments/${encodeURIComponent(name)}/customers`, query);
      yield* page.customers;
      if (page.next === null) return;
      query.cursor = page.next;
    }
  }

  /** Returns the size of an audience and its first members. */
  async audience(where: string, options: Record<string, Json> = {}): Promise<Page> {
    return this.request<Page>("/v1/audiences", {}, { where, ...options });
  }

  private async request<T>(path: string, query: Query, body?: Json): Promise<T> {
    const search = new URLSearchParams(query).toString();
    const response = await fetch(this.url + path + (search && `?${search}`), {
      method: body === undefined ? "GET" : "POST",
      headers: {
        "content-type": "application/json",
        ...(this.key ? { authorization: `Bearer ${this.key}` } : {}),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(5_000),
    });
    if (!response.ok) throw new LarderError(response.status, await response.json());
    return response.json() as Promise<T>;
  }
}

const segment = process.argv[2] ?? "champions";
const larder = new Larder(process.env.LARDER_URL, process.env.LARDER_KEY);

const members: string[] = [];
// Pages of 5 show the paging; 1,000 is the greatest page.
for await (const member of larder.segment(segment, undefined, 5)) members.push(member.customer_id);
console.log(`${segment}: ${members.length} customers`);

const first = (await larder.customer(members[0], ["rfm"]))?.rfm;
console.log(`${members[0]}: ${first?.frequency} orders, ${first?.monetary} spent`);

const results = await larder.customers([members[0], "no-such-customer"], ["rfm.segment"]);
console.log("batch: " + results.map((result) => `${result.customer_id} ${result.found}`).join(", "));

const where = `segment:${segment} and rfm.recency_days <= 30`;
console.log(`${where}: ${(await larder.audience(where, { limit: 1 })).total} customers`);

console.log(`no-such-customer: ${await larder.customer("no-such-customer")}`);
