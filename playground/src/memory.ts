/** What is remembered from answers, and how it fills the variables of other operations. Pure functions. */
import type { PreparedOperation } from './prepared.js';

/** Remembered values by the name of the variable that they fill. */
export type Memory = Readonly<Record<string, string | number>>;

/** What becomes meaningless when another batch, project, section or export is chosen. */
const BELONGS_TO: Record<string, string[]> = {
  batchId: ['since', 'runId', 'exportId', 'downloadUrl', 'projectId', 'projectRevision', 'sectionId', 'sectionRevision'],
  projectId: ['projectRevision', 'sectionId', 'sectionRevision'],
  sectionId: ['sectionRevision'],
  exportId: ['downloadUrl'],
};

/** The memory after an answer of this operation. */
export function rememberFrom(memory: Memory, operation: PreparedOperation, data: unknown): Memory {
  let next: Memory = memory;
  for (const rule of operation.remembers) {
    const value = valueAt(data, rule.path);
    if (typeof value !== 'string' && typeof value !== 'number') continue;
    if (next[rule.name] === value || (rule.keep && next[rule.name] !== undefined)) continue;
    const stale = BELONGS_TO[rule.name] ?? [];
    next = { ...Object.fromEntries(Object.entries(next).filter(([name]) => !stale.includes(name))), [rule.name]: value };
  }
  return next;
}

/**
 * The variables to show for an operation: the prepared ones, with what is remembered filled in. Where the operation is
 * open already, what a person typed there stays unless something newer is remembered.
 */
export function filledVariables(operation: PreparedOperation, memory: Memory, typed: Record<string, unknown> = {}): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(operation.variables).map(([name, prepared]) => {
      if (typeof prepared === 'string' && prepared.includes('{time}')) return [name, prepared.replace('{time}', timeNow())];
      return [name, memory[name] ?? typed[name] ?? prepared];
    }),
  );
}

/** The value at a path such as `batch.projects.nodes.0.id`; undefined if the path leads nowhere. */
export function valueAt(data: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (value, key) => (typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined),
    data,
  );
}

function timeNow(): string {
  return new Date().toISOString().slice(0, 19).replace('T', ' ');
}
