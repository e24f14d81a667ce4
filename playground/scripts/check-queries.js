/**
 * Checks the prepared operations of `queries/` against the schema: documents, variables and what they remember.
 *
 * Reads `../schema.graphql`, or the file named by `--schema FILE`. Prints every fault and exits 1 if there is one.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { buildSchema, getNamedType, getNullableType, isInterfaceType, isListType, isObjectType, Kind, parse, validate } from 'graphql';
import { getVariableValues } from 'graphql/execution/values.js';
import { readPrepared } from '../src/prepared.js';

const here = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));
const asked = process.argv.indexOf('--schema');
const schemaFile = [process.argv[asked < 0 ? process.argv.length : asked + 1], here('../../schema.graphql')].find((path) => path !== undefined && existsSync(path));
if (!schemaFile) {
  console.error('There is no schema.graphql: run `make schema` first, or name a file with --schema.');
  process.exit(1);
}
const schema = buildSchema(readFileSync(schemaFile, 'utf8'));
const folder = here('../queries/');
const names = readdirSync(folder);

/** @type {string[]} */
const faults = [];
/** @type {Map<string, string>} */
const seen = new Map();
/** @type {Set<string>} */
const remembered = new Set();
/** @type {Set<string>} */
const used = new Set();

const files = names.filter((name) => name.endsWith('.graphql')).sort();
files.forEach((fileName, index) => {
  const variablesFile = fileName.replace(/\.graphql$/, '.variables.json');
  const text = readFileSync(folder + fileName, 'utf8');
  const prepared = readPrepared(fileName, text, names.includes(variablesFile) ? readFileSync(folder + variablesFile, 'utf8') : undefined);
  const say = (/** @type {string} */ message) => faults.push(`${fileName}: ${message}`);
  if (prepared.number !== index + 1) say(`expected number ${index + 1}`);
  const twin = seen.get(prepared.operationName);
  if (twin) say(`has the same operation name as ${twin}`);
  seen.set(prepared.operationName, fileName);

  const document = parse(text);
  validate(schema, document).forEach((error) => say(error.message));
  const operations = document.definitions.filter((definition) => definition.kind === Kind.OPERATION_DEFINITION);
  const operation = operations[0];
  if (operations.length !== 1 || !operation) {
    say('needs exactly one operation');
    return;
  }

  const definitions = operation.variableDefinitions ?? [];
  const values = getVariableValues(schema, definitions, prepared.variables);
  values.errors?.forEach((error) => say(error.message));
  const declared = definitions.map((definition) => definition.variable.name.value);
  declared.forEach((name) => used.add(name));
  Object.keys(prepared.variables)
    .filter((name) => !declared.includes(name))
    .forEach((name) => say(`the variable ${name} is not declared`));

  const root = schema.getRootType(operation.operation);
  prepared.remembers.forEach((rule) => {
    remembered.add(rule.name);
    const fault = faultOfPath(root, rule.path) ?? selectionFault(operation, rule.path);
    if (fault) say(`remembers ${rule.name}: ${fault}`);
  });
});

[...remembered].filter((name) => !used.has(name) && name !== 'runId' && name !== 'downloadUrl').forEach((name) => faults.push(`${name} is remembered and never used`));

/**
 * Why the path leads nowhere in the schema, if it does.
 * @param {import('graphql').GraphQLOutputType | undefined | null} type
 * @param {string[]} path
 * @returns {string | null}
 */
function faultOfPath(type, path) {
  let current = type;
  for (const key of path) {
    const nullable = current ? getNullableType(current) : null;
    if (isListType(nullable) && /^\d+$/.test(key)) {
      current = nullable.ofType;
      continue;
    }
    if (!isObjectType(nullable) && !isInterfaceType(nullable)) return `${key} is asked of something that is no object`;
    current = nullable.getFields()[key]?.type;
    if (!current) return `${nullable.name} has no field ${key}`;
  }
  return current && 'getFields' in getNamedType(current) ? 'ends at an object' : null;
}

/**
 * Why the document does not ask for the path, if it does not.
 * @param {import('graphql').OperationDefinitionNode} operation
 * @param {string[]} path
 * @returns {string | null}
 */
function selectionFault(operation, path) {
  /** @type {import('graphql').SelectionSetNode | undefined} */
  let set = operation.selectionSet;
  for (const key of path.filter((part) => !/^\d+$/.test(part))) {
    /** @type {import('graphql').SelectionNode | undefined} */
    const field = set?.selections.find(
      (/** @type {import('graphql').SelectionNode} */ selection) => selection.kind === Kind.FIELD && (selection.alias ?? selection.name).value === key,
    );
    if (!field) return `${key} is not asked for`;
    set = field.kind === Kind.FIELD ? field.selectionSet : undefined;
  }
  return null;
}

faults.forEach((fault) => console.error(fault));
console.log(`${files.length} prepared operations checked against ${schemaFile}: ${faults.length === 0 ? 'all fit' : `${faults.length} faults`}.`);
process.exit(faults.length === 0 ? 0 : 1);
