// Apollo Client: HTTP by its HttpLink, uploads by apollo-upload-client, subscriptions by its GraphQLWsLink.
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache, gql } from '@apollo/client';
import { CombinedGraphQLErrors } from '@apollo/client/errors';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import UploadHttpLink from 'apollo-upload-client/UploadHttpLink.mjs';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import {
  BATCH, CSV, IMPORT, INVALID, RENAME, WATCH, check, connectionParams, done, equal, fresh, headers, newBatch, ok, resubscribing, survives, uploadHeaders, url,
} from './common.mjs';

// Apollo's link names the browser's class, which Node has from version 22 on.
globalThis.WebSocket ??= WebSocket;
// Its cache drops fragments on interfaces that it is not told of.
const possibleTypes = { StreamEvent: ['BatchSnapshot', 'BatchChanged'] };
const clientOf = (link) => new ApolloClient({ cache: new InMemoryCache({ possibleTypes }), link });
const client = clientOf(new HttpLink({ uri: url, headers }));
const batch = await newBatch();

await check('query', async () => {
  const { data } = await client.query({ query: gql(BATCH), variables: { id: batch.id } });
  equal(data.batch.name, batch.name);
});
await check('query by GET', async () => {
  const getting = clientOf(new HttpLink({ uri: url, headers, useGETForQueries: true }));
  const { data } = await getting.query({ query: gql(BATCH), variables: { id: batch.id } });
  equal(data.batch.name, batch.name);
});
await check('mutation', async () => {
  const name = fresh('Renamed');
  const { data } = await client.mutate({ mutation: gql(RENAME), variables: { id: batch.id, name } });
  equal(data.renameBatch.batch.name, name);
});
await check('an operation that is refused is an error with its code', async () => {
  const error = await client.query({ query: gql(INVALID) }).catch((error) => error);
  ok(CombinedGraphQLErrors.is(error), String(error));
  equal(error.errors[0].extensions.code, 'VALIDATION_FAILED');
});
await check('upload', async () => {
  const uploading = clientOf(new UploadHttpLink({ uri: url, headers: uploadHeaders }));
  const file = new File([CSV], 'projects.csv', { type: 'text/csv' });
  const { data } = await uploading.mutate({ mutation: gql(IMPORT), variables: { input: { batchId: batch.id, source: { file } } } });
  equal(data.importProjects.userErrors, []);
});

const socketOf = (address) => createClient({ url: address, webSocketImpl: WebSocket, connectionParams, retryAttempts: 0 });
await check('query and mutation over a socket', async () => {
  const name = fresh('Renamed');
  const over = clientOf(ApolloLink.from([new GraphQLWsLink(socketOf(url.replace('http', 'ws')))]));
  await over.mutate({ mutation: gql(RENAME), variables: { id: batch.id, name } });
  const { data } = await over.query({ query: gql(BATCH), variables: { id: batch.id } });
  equal(data.batch.name, name);
});
await check('a subscription survives', () =>
  survives(resubscribing((through, variables, onEvent, onLost) => {
    const over = clientOf(new GraphQLWsLink(socketOf(through.ws)));
    const next = ({ data, error }) => (error ? onLost() : onEvent(data.batchProgress));
    const subscription = over.subscribe({ query: gql(WATCH), variables }).subscribe({ next, error: onLost, complete: onLost });
    return () => subscription.unsubscribe();
  })));
done();
