/**
 * The form of a prepared operation: reads the leading comment of a `.graphql` file of `queries/`.
 *
 * Plain JavaScript so that the page and `scripts/check-queries.js` share it. The comment has three parts, divided by
 * lines of a lone `#`: a title, a sentence or two, and lines `Remembers: name = path.in.the.answer` (`?=` keeps what is
 * remembered already). A remembered name fills the variable of the same name in every other operation.
 */

/**
 * @typedef {{ name: string, path: string[], keep: boolean }} RememberRule
 * @typedef {{ number: number, fileName: string, operationName: string, kind: 'query' | 'mutation' | 'subscription',
 *   title: string, about: string, remembers: RememberRule[], query: string, variables: Record<string, unknown> }} PreparedOperation
 */

const RULE = /^Remembers: (\w+) (\?)?= ([\w.]+)$/;
const OPERATION = /^(query|mutation|subscription)\s+(\w+)/m;

/**
 * @param {string} fileName such as `03-create-batch.graphql`
 * @param {string} text the file
 * @param {string | undefined} variablesText the file beside it, if there is one
 * @returns {PreparedOperation}
 */
export function readPrepared(fileName, text, variablesText) {
  const lines = text.split('\n');
  const firstLineOfCode = lines.findIndex((line) => !line.startsWith('#'));
  const comment = lines.slice(0, firstLineOfCode).map((line) => line.replace(/^#\s?/, '').trim());
  const operation = OPERATION.exec(text);
  const number = Number.parseInt(fileName, 10);
  const [title, ...rest] = comment;
  const about = rest.filter((line) => line && !line.startsWith('Remembers:')).join(' ');
  if (!title || !about || !operation || Number.isNaN(number)) {
    throw new Error(`${fileName}: needs a number in its name, a title, a sentence and a named operation`);
  }
  return {
    number,
    fileName,
    operationName: /** @type {string} */ (operation[2]),
    kind: /** @type {PreparedOperation['kind']} */ (operation[1]),
    title,
    about,
    remembers: rest.filter((line) => line.startsWith('Remembers:')).map((line) => readRule(fileName, line)),
    query: text.trimEnd(),
    variables: variablesText ? JSON.parse(variablesText) : {},
  };
}

/**
 * @param {string} fileName
 * @param {string} line
 * @returns {RememberRule}
 */
function readRule(fileName, line) {
  const match = RULE.exec(line);
  if (!match?.[1] || !match[3]) throw new Error(`${fileName}: cannot read "${line}"`);
  return { name: match[1], path: match[3].split('.'), keep: match[2] === '?' };
}
