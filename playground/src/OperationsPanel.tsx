/** The panel that leads through the whole job: prepared operations in order, what is remembered, and live events. */
import { useGraphiQL, useGraphiQLActions } from '@graphiql/react';
import { useEffect, useId, useRef, useState } from 'react';
import type { ReactNode } from 'react';
import { EventLog } from './EventLog';
import { findOperation, neededVariables, operationAfter, OPERATIONS, sourcesOf } from './operations';
import type { PreparedOperation } from './operations';
import { currentSession, forgetAll, useSession } from './session';
import type { Session } from './session';
import { TokenForm } from './TokenBar';
import { useOpenOperation } from './useOpenOperation';

/** The content of the panel. */
export function OperationsPanel() {
  const session = useSession();
  const open = useOpenOperation();
  const activeName = useGraphiQL((state) => state.tabs[state.activeTabIndex]?.title);
  const heading = useId();
  return (
    <section className="cw-panel" aria-labelledby={heading}>
      <h2 id={heading}>Operations</h2>
      <p>The whole job, step by step. Choose one, then run it; ids from the answers are filled into the next ones.</p>
      <p role="status" className="cw-status">
        {statusOf(session)}
      </p>
      <ol className="cw-operations">
        {OPERATIONS.map((operation) => (
          <OperationItem
            key={operation.operationName}
            operation={operation}
            session={session}
            active={operation.operationName === activeName}
            open={open}
          />
        ))}
      </ol>
      <Remembered session={session} />
      <TokenNote token={session.token} />
    </section>
  );
}

interface ItemProps {
  operation: PreparedOperation;
  session: Session;
  active: boolean;
  open: ((operation: PreparedOperation) => void) | null;
}

function OperationItem({ operation, session, active, open }: ItemProps) {
  const about = useId();
  const outcome = session.outcomes[operation.operationName];
  const mark = outcome ? (outcome.ok ? 'done' : 'refused') : null;
  const live = useGraphiQL((state) => state.subscription !== null) && active && operation.kind === 'subscription' && mark === 'done';
  return (
    <li className={active ? 'cw-active' : undefined}>
      <button
        type="button"
        className="cw-operation"
        aria-current={active ? 'step' : undefined}
        aria-describedby={about}
        data-operation={operation.operationName}
        data-outcome={mark}
        disabled={open === null}
        onClick={() => open?.(operation)}
      >
        <span className="cw-number">{operation.number}</span>
        <span className="cw-title">{operation.title}</span>
        {mark && <span className={`cw-mark cw-${mark}`}>{live ? 'live' : mark}</span>}
      </button>
      <p id={about} className="cw-about">
        {withCode(operation.about)}
      </p>
      {active && <RunRow operation={operation} session={session} open={open} />}
    </li>
  );
}

function RunRow({ operation, session, open }: Omit<ItemProps, 'active'>) {
  const row = useRef<HTMLDivElement>(null);
  useEffect(() => {
    row.current?.scrollIntoView({ block: 'nearest' });
  }, []);
  const { run, stop } = useGraphiQLActions();
  const busy = useGraphiQL((state) => state.isFetching || state.subscription !== null);
  const missing = neededVariables(operation).filter((name) => session.memory[name] === undefined);
  const next = session.outcomes[operation.operationName]?.ok ? operationAfter(operation) : undefined;
  const downloadUrl = operation.remembers.some((rule) => rule.name === 'downloadUrl') ? safeUrl(session.memory['downloadUrl']) : null;
  const goTo = (other: PreparedOperation) => {
    open?.(other);
    // The button that was pressed goes away; keyboard and screen reader go on from the operation that was opened.
    document.querySelector<HTMLElement>(`[data-operation="${other.operationName}"]`)?.focus();
  };
  return (
    <div ref={row} className="cw-run-row">
      {missing.length > 0 && <p className="cw-missing">{sayMissing(operation, missing)}</p>}
      <button type="button" className="cw-button cw-primary" data-action="run" onClick={() => (busy ? stop() : void run())}>
        {busy ? 'Stop' : 'Run'}
      </button>
      {downloadUrl && (
        <a className="cw-button" data-action="download" href={downloadUrl} rel="noreferrer" download>
          Download the document
        </a>
      )}
      {next && (
        <button type="button" className="cw-button" data-action="next" disabled={open === null} onClick={() => goTo(next)}>
          Next: {next.title}
        </button>
      )}
      {operation.kind === 'subscription' && <EventLog />}
    </div>
  );
}

function Remembered({ session }: { session: Session }) {
  const names = Object.keys(session.memory);
  if (names.length === 0) return null;
  return (
    <details className="cw-remembered">
      <summary>Remembered values ({names.length})</summary>
      <dl>
        {names.map((name) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{session.memory[name]}</dd>
          </div>
        ))}
      </dl>
      <button type="button" className="cw-button" onClick={forgetAll}>
        Forget them
      </button>
    </details>
  );
}

function TokenNote({ token }: { token: string }) {
  const [said, setSaid] = useState('');
  if (!token) return null;
  const copy = () => {
    navigator.clipboard.writeText(`Authorization: Bearer ${currentSession().token}`).then(
      () => setSaid('Copied.'),
      () => setSaid('The browser did not allow copying.'),
    );
  };
  return (
    <details className="cw-remembered">
      <summary>Token</summary>
      <p>Sent with every request and subscription, unless the headers editor holds an Authorization header of its own.</p>
      <button type="button" className="cw-button" onClick={copy}>
        Copy as header
      </button>
      <TokenForm onDone={() => setSaid('The new token is in use.')} />
      <p role="status">{said}</p>
    </details>
  );
}

function statusOf(session: Session): string {
  const operation = findOperation(session.lastRun);
  const outcome = operation && session.outcomes[operation.operationName];
  return operation && outcome ? `${operation.title}: ${outcome.message}` : '';
}

function sayMissing(operation: PreparedOperation, names: string[]): string {
  const sources = [...new Set(names.flatMap(sourcesOf))].filter((source) => source.number < operation.number);
  const titles = sources.slice(0, 2).map((source) => `“${source.number} ${source.title}”`);
  return `Needs ${names.join(' and ')}: type into the variables, or first run ${titles.join(' or ')}.`;
}

/** Text with what stands between backticks set as code. */
function withCode(text: string): ReactNode[] {
  return text.split('`').map((part, index) => (index % 2 === 1 ? <code key={index}>{part}</code> : part));
}

function safeUrl(value: string | number | undefined): string | null {
  if (typeof value !== 'string' || !URL.canParse(value, document.baseURI)) return null;
  const url = new URL(value, document.baseURI);
  return url.protocol === 'http:' || url.protocol === 'https:' ? url.href : null;
}
