/** The page: GraphiQL with the panel of prepared operations, and a bar that asks for a token if there is none. */
import { GraphiQL } from 'graphiql';
import { HISTORY_PLUGIN } from '@graphiql/plugin-history';
import type { GraphiQLPlugin } from '@graphiql/react';
import { fetcher } from './fetcher';
import { OPERATIONS } from './operations';
import { OperationsPanel } from './OperationsPanel';
import { useSession } from './session';
import { TokenBar } from './TokenBar';

const OPERATIONS_PLUGIN: GraphiQLPlugin = { title: 'Operations', icon: ListIcon, content: OperationsPanel };
// Stable references: GraphiQL resets the visible panel when they change.
const PLUGINS = [OPERATIONS_PLUGIN, HISTORY_PLUGIN];
const FIRST = OPERATIONS[0]?.query ?? '';

/** The whole page. */
export function Playground() {
  const { token, tokenRefused } = useSession();
  return (
    <div className="cw-page">
      {(!token || tokenRefused) && <TokenBar refused={tokenRefused} />}
      <main className="cw-main" aria-label="GraphQL playground">
        <GraphiQL
          fetcher={fetcher}
          plugins={PLUGINS}
          visiblePlugin={OPERATIONS_PLUGIN}
          defaultQuery={FIRST}
          defaultEditorToolsVisibility="variables"
          // Headers may hold a token, which is not to be left in the browser's storage.
          shouldPersistHeaders={false}
          inputValueDeprecation
          schemaDescription
        >
          <GraphiQL.Logo>Claimwright</GraphiQL.Logo>
        </GraphiQL>
      </main>
    </div>
  );
}

function ListIcon() {
  return (
    <svg width="1em" height="1em" viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth="1.5" aria-hidden="true">
      <path d="M9 6h12M9 12h12M9 18h12M3 6l1 1 2-2M3 12l1 1 2-2M3 18l1 1 2-2" />
    </svg>
  );
}
