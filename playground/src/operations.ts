/** The prepared operations of `queries/`, in order, bundled into the page; and what their variables need. */
import { Kind, parse } from 'graphql';
import { readPrepared } from './prepared.js';
import type { PreparedOperation } from './prepared.js';

export type { PreparedOperation } from './prepared.js';

const documents = import.meta.glob<string>('../queries/*.graphql', { query: '?raw', import: 'default', eager: true });
const variables = import.meta.glob<string>('../queries/*.variables.json', { query: '?raw', import: 'default', eager: true });

/** All prepared operations in the order of the job. */
export const OPERATIONS: PreparedOperation[] = Object.entries(documents)
  .map(([path, text]) => readPrepared(path.split('/').at(-1) ?? path, text, variables[path.replace(/\.graphql$/, '.variables.json')]))
  .sort((a, b) => a.number - b.number);

const byName = new Map(OPERATIONS.map((operation) => [operation.operationName, operation]));

/** The prepared operation of that name, if it is one. */
export function findOperation(name: string | null | undefined): PreparedOperation | undefined {
  return name ? byName.get(name) : undefined;
}

/** The operation that comes after this one in the job. */
export function operationAfter(operation: PreparedOperation): PreparedOperation | undefined {
  return OPERATIONS[OPERATIONS.indexOf(operation) + 1];
}

/** Operations whose answers give a value for this name. */
export function sourcesOf(name: string): PreparedOperation[] {
  return OPERATIONS.filter((operation) => operation.remembers.some((rule) => rule.name === name));
}

/** Variables that must have a value and can be remembered from another operation. */
export function neededVariables(operation: PreparedOperation): string[] {
  return parse(operation.query)
    .definitions.flatMap((definition) => (definition.kind === Kind.OPERATION_DEFINITION ? (definition.variableDefinitions ?? []) : []))
    .filter((definition) => definition.type.kind === Kind.NON_NULL_TYPE)
    .map((definition) => definition.variable.name.value)
    .filter((name) => sourcesOf(name).length > 0);
}
