// The audits of graphql-http's server: every MUST, SHOULD and MAY.
import { serverAudits } from 'graphql-http';
import { check, done, equal, url } from './common.mjs';

for (const audit of serverAudits({ url })) {
  await check(`${audit.id} ${audit.name}`, async () => {
    const { status, reason } = await audit.fn();
    equal(status, 'ok', reason);
  });
}
done();
