// subscriptions-transport-ws: the older dialect by its own, retired client, which reconnects by itself.
import { SubscriptionClient } from 'subscriptions-transport-ws';
import WebSocket from 'ws';
import { BATCH, INVALID, RENAME, WATCH, check, connectionParams, done, equal, fresh, newBatch, ok, survives, url } from './common.mjs';

const connect = (address, options) => new SubscriptionClient(address, { connectionParams, ...options }, WebSocket);
const client = connect(url.replace('http', 'ws'), {});
const single = (query, variables) =>
  new Promise((next, error) => client.request({ query, variables }).subscribe({ next, error, complete: () => error(new Error('no result')) }));
const batch = await newBatch();

await check('query', async () => {
  const { data } = await single(BATCH, { id: batch.id });
  equal([data.batch.name, client.wsImpl === WebSocket], [batch.name, true]);
});
await check('mutation', async () => {
  const name = fresh('Renamed');
  const { data } = await single(RENAME, { id: batch.id, name });
  equal(data.renameBatch.batch.name, name);
});
await check('an operation that is refused is an error', async () => {
  const error = await single(INVALID).catch((error) => error);
  equal([error].flat().map(({ extensions }) => extensions?.code), ['VALIDATION_FAILED']);
});
await check('a bad token is told', async () => {
  const told = await new Promise((resolve) => connect(url.replace('http', 'ws'), { connectionParams: {}, connectionCallback: resolve }));
  ok(told.message === 'Forbidden', JSON.stringify(told));
});
await check('a subscription survives', () =>
  survives((through, variables, onEvent) => {
    const lasting = connect(through.ws, { reconnect: true, minTimeout: 5000 });
    const sink = { next: ({ data }) => onEvent(data.batchProgress), error: (error) => ok(false, error), complete() {} };
    const subscription = lasting.request({ query: WATCH, variables }).subscribe(sink);
    return () => {
      subscription.unsubscribe();
      lasting.close(true);
    };
  }));
done();
