// graphql-sse: distinct connections with the client's own retries; the variables move on with every event.
import { createClient } from 'graphql-sse';
import { BATCH, INVALID, RENAME, WATCH, check, done, equal, fresh, headers, newBatch, ok, survives, url } from './common.mjs';

const client = createClient({ url, headers });
const all = async (request, from = client) => {
  const results = [];
  for await (const result of from.iterate(request)) results.push(result);
  return results;
};
const batch = await newBatch();

await check('query', async () => {
  const results = await all({ query: BATCH, variables: { id: batch.id } });
  equal(results.map(({ data }) => data.batch.name), [batch.name]);
});
await check('mutation', async () => {
  const name = fresh('Renamed');
  const [{ data }] = await all({ query: RENAME, variables: { id: batch.id, name } });
  equal(data.renameBatch.batch.name, name);
});
await check('an operation that is refused is a result with errors', async () => {
  for (const [request, code] of [[{ query: INVALID }, 'VALIDATION_FAILED'], [{ query: WATCH, variables: { id: 'nonsense' } }, 'NOT_FOUND']]) {
    const results = await all(request);
    equal(results.map(({ errors }) => errors[0].extensions.code), [code]);
  }
});
await check('no token is told by the status', async () => {
  const error = await all({ query: BATCH, variables: { id: batch.id } }, createClient({ url, retryAttempts: 0 })).catch((error) => error);
  equal(error.response?.status, 401);
});
await check('a subscription survives', () =>
  survives((through, variables, onEvent) => {
    const lasting = createClient({ url: through.http, headers, retryAttempts: 100, retry: () => new Promise((resolve) => setTimeout(resolve, 50)) });
    const sink = { next: ({ data }) => onEvent(data.batchProgress), error: (error) => ok(false, error), complete() {} };
    const stop = lasting.subscribe({ query: WATCH, variables }, sink);
    return () => {
      stop();
      lasting.dispose();
    };
  }));
done();
