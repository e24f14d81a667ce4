/**
 * The state of the page outside GraphiQL: the token, what is remembered, how operations went, and the events of the
 * subscription that is watched. The token lives in memory only; remembered ids last as long as the browser tab.
 */
import { useSyncExternalStore } from 'react';
import { findOperation } from './operations';
import { rememberFrom, valueAt } from './memory';
import type { Memory } from './memory';

/** How an operation went the last time. */
export interface Outcome {
  ok: boolean;
  message: string;
}

/** An event of a subscription, as one line. */
export interface EventLine {
  key: number;
  at: string;
  sequence: number | null;
  text: string;
}

/** All of it; replaced whole at every change. */
export interface Session {
  token: string;
  tokenRefused: boolean;
  memory: Memory;
  outcomes: Readonly<Record<string, Outcome>>;
  lastRun: string | null;
  events: readonly EventLine[];
  eventCount: number;
}

const MEMORY_KEY = 'claimwright:remembered';
/** Lines that are kept on the page; older ones are dropped. */
const MAX_LINES = 200;

let session: Session = {
  token: document.querySelector<HTMLMetaElement>('meta[name="claimwright-token"]')?.content.trim() ?? '',
  tokenRefused: false,
  memory: storedMemory(),
  outcomes: {},
  lastRun: null,
  events: [],
  eventCount: 0,
};
const listeners = new Set<() => void>();

/** The state now. */
export function currentSession(): Session {
  return session;
}

/** The state, in a component. */
export function useSession(): Session {
  return useSyncExternalStore(subscribe, currentSession);
}

/** Takes another token, with or without the word Bearer before it. */
export function takeToken(token: string): void {
  change({ token: token.trim().replace(/^Bearer\s+/i, ''), tokenRefused: false });
}

/** Forgets all remembered ids and outcomes. */
export function forgetAll(): void {
  change({ memory: {}, outcomes: {}, lastRun: null });
}

/** Called when a subscription begins: its events replace those of the one before. */
export function beginEvents(): void {
  change({ events: [], eventCount: 0 });
}

/** Called with every answer of an operation, events of subscriptions included. */
export function noteAnswer(operationName: string | undefined, answer: unknown, isEvent: boolean): void {
  if (isUnauthenticated(answer)) change({ tokenRefused: true });
  if (isEvent) noteEvent(answer);
  const operation = findOperation(operationName);
  if (!operation) return;
  const outcome = outcomeOf(answer, isEvent ? 'Events are coming in.' : 'Done.');
  change({
    memory: outcome.ok ? rememberFrom(session.memory, operation, valueAt(answer, ['data'])) : session.memory,
    outcomes: { ...session.outcomes, [operation.operationName]: outcome },
    lastRun: operation.operationName,
  });
}

/** Called when an operation could not be sent or its socket was closed. */
export function noteFault(operationName: string | undefined, message: string): void {
  // The server closes a socket with 4403 when it does not accept the token.
  const refused = message.includes('4403');
  if (refused) change({ tokenRefused: true });
  const operation = findOperation(operationName);
  if (!operation) return;
  change({ outcomes: { ...session.outcomes, [operation.operationName]: { ok: false, message: refused ? 'The server did not accept the token.' : message } }, lastRun: operation.operationName });
}

function noteEvent(answer: unknown): void {
  const event = firstValue(valueAt(answer, ['data']));
  if (!isRecord(event)) return;
  const sequence = typeof event['sequence'] === 'number' ? event['sequence'] : null;
  const at = typeof event['occurredAt'] === 'string' ? event['occurredAt'].slice(11, 19) : '';
  const line = { key: session.eventCount, at, sequence, text: describeEvent(event) };
  change({ events: [...session.events.slice(1 - MAX_LINES), line], eventCount: session.eventCount + 1 });
}

/** One line for an event: its kind, then what of it a person wants to know first. */
function describeEvent(event: Record<string, unknown>): string {
  const progress = valueAt(event, ['progress']) ?? valueAt(event, ['export', 'progress']) ?? valueAt(event, ['activeRun', 'progress']);
  const parts = [
    event['__typename'],
    valueAt(event, ['project', 'name']),
    event['projectStatus'] ?? event['runStatus'] ?? valueAt(event, ['export', 'status']) ?? event['reason'],
    typeof progress === 'number' ? `${Math.round(progress * 100)} %` : undefined,
    typeof event['score'] === 'number' ? `score ${event['score']}` : undefined,
    typeof event['count'] === 'number' ? `${event['count']} projects` : undefined,
  ];
  return parts.filter((part) => typeof part === 'string').join(' · ');
}

function outcomeOf(answer: unknown, success: string): Outcome {
  const fault = valueAt(answer, ['errors', '0', 'message']);
  if (typeof fault === 'string') return { ok: false, message: fault };
  const root = firstValue(valueAt(answer, ['data']));
  const refusal = valueAt(root, ['userErrors', '0', 'message']);
  if (typeof refusal === 'string') return { ok: false, message: refusal };
  return root == null ? { ok: false, message: 'Nothing was found under this id.' } : { ok: true, message: success };
}

function isUnauthenticated(answer: unknown): boolean {
  const errors = valueAt(answer, ['errors']);
  return Array.isArray(errors) && errors.some((error) => valueAt(error, ['extensions', 'code']) === 'UNAUTHENTICATED');
}

function firstValue(data: unknown): unknown {
  return isRecord(data) ? Object.values(data)[0] : undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function change(part: Partial<Session>): void {
  session = { ...session, ...part };
  if (part.memory) storeMemory(part.memory);
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

// Storage can be switched off in a browser; the page then forgets at a reload and works otherwise.
function storedMemory(): Memory {
  try {
    const stored: unknown = JSON.parse(sessionStorage.getItem(MEMORY_KEY) ?? '{}');
    return isRecord(stored) ? (stored as Memory) : {};
  } catch {
    return {};
  }
}

function storeMemory(memory: Memory): void {
  try {
    sessionStorage.setItem(MEMORY_KEY, JSON.stringify(memory));
  } catch {
    return;
  }
}
