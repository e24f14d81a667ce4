/**
 * Sends operations: queries and mutations over HTTP, subscriptions over graphql-transport-ws, both at `graphql` beside
 * the page. Puts the token into each unless the headers editor has an Authorization of its own, and reports every
 * answer to the session.
 */
import { createGraphiQLFetcher } from '@graphiql/toolkit';
import type { Fetcher } from '@graphiql/toolkit';
import { createClient } from 'graphql-ws';
import { beginEvents, currentSession, noteAnswer, noteFault } from './session';

/** Close code of the server for a missing, bad or expired token. */
const FORBIDDEN = 4403;
const RETRIES = 5;

const httpUrl = new URL('graphql', document.baseURI);
const socketUrl = new URL(httpUrl);
socketUrl.protocol = httpUrl.protocol === 'https:' ? 'wss:' : 'ws:';

/** The fetcher for GraphiQL. */
export const fetcher: Fetcher = async (params, options) => {
  const headers = withToken(options?.headers ?? {});
  const send = createGraphiQLFetcher({
    url: httpUrl.href,
    // One socket per subscription: its token is that of the headers at the time.
    wsClient: createClient({
      url: socketUrl.href,
      connectionParams: headers,
      retryAttempts: RETRIES,
      // A refused token stays refused: say so at once rather than after half a minute of tries.
      shouldRetry: (cause) => cause instanceof CloseEvent && cause.code !== FORBIDDEN,
    }),
    enableIncrementalDelivery: false,
  });
  const name = params.operationName ?? undefined;
  const fail = (cause: unknown): never => {
    noteFault(name, cause instanceof Error ? cause.message : String(cause));
    throw cause;
  };
  const result = await Promise.resolve(send(params, { ...options, headers })).catch(fail);
  if (isAsyncIterable(result)) {
    beginEvents();
    return observed(result, (answer) => noteAnswer(name, answer, true), fail) as Awaited<ReturnType<Fetcher>>;
  }
  noteAnswer(name, result, false);
  return result as Awaited<ReturnType<Fetcher>>;
};

function withToken(headers: Record<string, string>): Record<string, string> {
  const { token } = currentSession();
  const hasOwn = Object.keys(headers).some((name) => name.toLowerCase() === 'authorization');
  return hasOwn || !token ? headers : { Authorization: `Bearer ${token}`, ...headers };
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}

// Not an async generator: its return() would wait for the next event, so that Stop would not stop.
function observed(source: AsyncIterable<unknown>, see: (answer: unknown) => void, fail: (cause: unknown) => never): AsyncIterableIterator<unknown> {
  const inner = source[Symbol.asyncIterator]();
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      const step = await inner.next().catch(fail);
      if (!step.done) see(step.value);
      return step;
    },
    async return(value?: unknown) {
      return (await inner.return?.(value)) ?? { done: true, value };
    },
  };
}
