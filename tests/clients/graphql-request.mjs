// graphql-request: queries and mutations over HTTP; it has neither uploads nor subscriptions.
import { ClientError, GraphQLClient } from 'graphql-request';
import { BATCH, INVALID, RENAME, check, done, equal, fresh, headers, newBatch, ok, url } from './common.mjs';

const client = new GraphQLClient(url, { headers });
const batch = await newBatch();

await check('query', async () => {
  const { batch: found } = await client.request(BATCH, { id: batch.id });
  equal(found.name, batch.name);
});
await check('query by GET', async () => {
  const { batch: found } = await new GraphQLClient(url, { headers, method: 'GET' }).request(BATCH, { id: batch.id });
  equal(found.name, batch.name);
});
await check('mutation', async () => {
  const name = fresh('Renamed');
  const { renameBatch } = await client.request(RENAME, { id: batch.id, name });
  equal(renameBatch.batch.name, name);
});
await check('an operation that is refused is an error with its code', async () => {
  const error = await client.request(INVALID).catch((error) => error);
  ok(error instanceof ClientError, String(error));
  equal(error.response.errors[0].extensions.code, 'VALIDATION_FAILED');
});
done();
