// urql: HTTP and uploads by its fetchExchange, subscriptions over graphql-ws and, by its fetchExchange too, over event
// streams.
import { Client, fetchExchange, subscriptionExchange } from '@urql/core';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import {
  BATCH, CSV, IMPORT, INVALID, RENAME, WATCH, check, connectionParams, done, equal, fresh, headers, newBatch, ok, resubscribing, survives, uploadHeaders, url,
} from './common.mjs';

const client = new Client({ url, exchanges: [fetchExchange], fetchOptions: { headers: uploadHeaders }, preferGetMethod: false });
const batch = await newBatch();

await check('query', async () => {
  const { data, error } = await client.query(BATCH, { id: batch.id }).toPromise();
  equal([error, data.batch.name], [undefined, batch.name]);
});
await check('query by GET', async () => {
  const getting = new Client({ url, exchanges: [fetchExchange], fetchOptions: { headers }, preferGetMethod: 'force' });
  const { data } = await getting.query(BATCH, { id: batch.id }).toPromise();
  equal(data.batch.name, batch.name);
});
await check('mutation', async () => {
  const name = fresh('Renamed');
  const { data } = await client.mutation(RENAME, { id: batch.id, name }).toPromise();
  equal(data.renameBatch.batch.name, name);
});
await check('an operation that is refused is an error with its code', async () => {
  const { error } = await client.query(INVALID, {}).toPromise();
  equal(error.graphQLErrors[0].extensions.code, 'VALIDATION_FAILED');
});
await check('upload', async () => {
  const file = new File([CSV], 'projects.csv', { type: 'text/csv' });
  const { data, error } = await client.mutation(IMPORT, { input: { batchId: batch.id, source: { file } } }).toPromise();
  equal(error, undefined);
  equal(data.importProjects.userErrors, []);
});

/// A subscription that is lost is a result with an error, or ends.
const watch = (urql, variables, onEvent, onLost) => {
  const { unsubscribe } = urql.subscription(WATCH, variables).subscribe(({ data, error }) => {
    if (error) return onLost();
    onEvent(data.batchProgress);
  });
  return unsubscribe;
};
await check('a subscription over graphql-ws survives', () =>
  survives(resubscribing((through, variables, onEvent, onLost) => {
    const socket = createClient({ url: through.ws, webSocketImpl: WebSocket, connectionParams, retryAttempts: 0 });
    const forwardSubscription = ({ query, variables }) => ({
      subscribe: (sink) => ({ unsubscribe: socket.subscribe({ query, variables }, sink) }),
    });
    return watch(new Client({ url, exchanges: [subscriptionExchange({ forwardSubscription })] }), variables, onEvent, onLost);
  })));
await check('a subscription over an event stream survives', () =>
  survives(resubscribing((through, variables, onEvent, onLost) => {
    const streaming = new Client({ url: through.http, exchanges: [fetchExchange], fetchOptions: { headers }, fetchSubscriptions: true });
    return watch(streaming, variables, onEvent, onLost);
  })));
await check('a subscription that is refused is an error', async () => {
  const streaming = new Client({ url, exchanges: [fetchExchange], fetchOptions: { headers }, fetchSubscriptions: true });
  const { error } = await new Promise((resolve) => streaming.subscription(WATCH, { id: 'nonsense' }).subscribe(resolve));
  ok(error.graphQLErrors.some(({ extensions }) => extensions.code === 'NOT_FOUND'), String(error));
});
done();
