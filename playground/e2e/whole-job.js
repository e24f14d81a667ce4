/**
 * Does the whole job in the playground with a real browser, against a server that runs already:
 *
 *     npm run e2e -- --url http://127.0.0.1:8080 [--token TOKEN] [--screenshot FILE]
 *
 * `CHROMIUM` names the browser (default /usr/bin/chromium). Exits 1 on the first failure and leaves `e2e/failure.png`.
 * Fails too when the page asks another origin for anything, breaks its content security policy or throws.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';

const { values: options } = parseArgs({
  options: { url: { type: 'string', default: 'http://127.0.0.1:8080' }, token: { type: 'string' }, screenshot: { type: 'string' } },
});
const url = new URL(options.url);
const STEP_MS = 30_000;
/** A run of generation or an export may take its time on a busy machine. */
const JOB_MS = 180_000;

const browser = await chromium.launch({ executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
const page = await browser.newPage({ viewport: { width: 1440, height: 900 }, acceptDownloads: true });
page.setDefaultTimeout(STEP_MS);

/** @type {string[]} */
const complaints = [];
page.on('pageerror', (error) => complaints.push(`the page threw: ${error.message}`));
page.on('console', (message) => {
  if (message.type() === 'error' && /content security policy/i.test(message.text())) complaints.push(message.text());
});
page.on('request', (request) => {
  const asked = new URL(request.url());
  if (['http:', 'https:'].includes(asked.protocol) && asked.origin !== url.origin && !request.isNavigationRequest()) {
    complaints.push(`the page asked another origin: ${asked.href}`);
  }
});

let current = 'open the page';
try {
  await wholeJob();
  if (complaints.length > 0) throw new Error(complaints.join('\n'));
  console.log('The whole job works in the playground.');
} catch (error) {
  const picture = fileURLToPath(new URL('failure.png', import.meta.url));
  await page.screenshot({ path: picture }).catch(() => undefined);
  console.error(`FAILED at: ${current}\n${error instanceof Error ? error.message : error}`);
  for (const complaint of complaints) console.error(complaint);
  const answer = await response().catch(() => '');
  if (answer) console.error(`The answer in the editor was:\n${answer.slice(0, 2000)}`);
  console.error(`Screenshot: ${picture}`);
  process.exitCode = 1;
} finally {
  await browser.close();
}

async function wholeJob() {
  await page.goto(url.href);
  await page.locator('[data-operation="ApiInfo"]').waitFor();
  await page.waitForFunction(() => /** @type {any} */ (globalThis).__MONACO?.editor.getModels().length >= 4);
  if (options.token) {
    await page.getByLabel('Bearer token').first().fill(options.token);
    await page.getByRole('button', { name: 'Use this token' }).first().click();
  }

  await step('ApiInfo', (data) => data.apiInfo.version);
  await step('Viewer', (data) => data.viewer.workspace.id);
  const batchId = await step('CreateBatch', (data) => data.createBatch.batch.id);
  await step('ImportProjects', (data) => data.importProjects.import.id);
  await step('ListBatches', (data) => data.batches.nodes.find((/** @type {any} */ batch) => batch.id === batchId));
  await step('BatchWithProjects', (data) => data.batch.projects.totalCount === 4 && data.batch.imports.nodes[0].status === 'SUCCEEDED', JOB_MS);
  await step('StartGeneration', (data) => data.startGeneration.run.id);

  await watch('WatchBatch', /RunStatusChanged · SUCCEEDED/);
  const events = await page.locator('.cw-events li').allTextContents();
  if (events.length === 0) throw new Error('no event appeared');
  console.log(`  ${events.length} events, the last one: ${events.at(-1)?.trim()}`);
  if (options.screenshot) await page.screenshot({ path: options.screenshot });

  await step('BatchWithProjects', (data) => data.batch.counts.needsReview === 4, JOB_MS);
  await step('ReadNarrative', (data) => data.project.sections.length > 0 && data.project.sections.every((/** @type {any} */ section) => section.text));
  await step('EditSection', (data) => data.editSection.section.state === 'EDITED');
  await step('ApproveProject', (data) => data.approveProject.project.status === 'APPROVED');
  await step('ExportDocx', (data) => data.createExport.export.id);
  await watch('WatchExport', /SUCCEEDED/);
  await download();

  await step('AifSelection', (data) => data.batch.aifSelection.rule);
  await step('AifSelectionFor', (data) => data.aifSelectionFor.selected.length > 0);
  await step('CheckNarrative', (data) => data.checkNarrative.issues.some((/** @type {any} */ issue) => issue.code === 'NUMBER_NOT_IN_SOURCE'));
  await step('Templates', (data) => data.templates.nodes.length > 0);
}

/**
 * Opens a prepared operation by the keyboard, runs it, and again until the answer is as expected or time is up.
 * @param {string} name
 * @param {(data: any) => unknown} expected gives something truthy for a good answer
 * @param {number} within milliseconds in which it may be asked again
 */
async function step(name, expected, within = 0) {
  await open(name);
  const end = Date.now() + within;
  for (;;) {
    await page.locator('[data-action="run"]').click();
    const answer = await page.waitForFunction(readResponse, null, { polling: 50 }).then((handle) => handle.jsonValue());
    const parsed = JSON.parse(String(answer));
    const found = parsed.errors ? undefined : tried(() => expected(parsed.data));
    if (found) {
      await page.locator(`[data-operation="${name}"][data-outcome="done"]`).waitFor();
      console.log(`  ${name}: ok`);
      return found;
    }
    if (Date.now() > end) throw new Error('the answer was not as expected');
    await page.waitForTimeout(250);
  }
}

/**
 * Runs a subscription until a line of the event log matches, then stops it if it goes on.
 * @param {string} name
 * @param {RegExp} last
 */
async function watch(name, last) {
  await open(name);
  const run = page.locator('[data-action="run"]');
  await run.click();
  await page.locator('.cw-events li').filter({ hasText: last }).first().waitFor({ state: 'attached', timeout: JOB_MS });
  if ((await run.textContent()) === 'Stop') await run.click();
  await run.filter({ hasText: 'Run' }).waitFor();
  console.log(`  ${name}: ok`);
}

async function download() {
  current = 'download the document';
  const link = page.locator('[data-action="download"]');
  const [file] = await Promise.all([page.waitForEvent('download'), link.click()]);
  const content = readFileSync(await file.path());
  if (content.subarray(0, 2).toString() !== 'PK') throw new Error('the file is no Word document');
  console.log(`  download: ${file.suggestedFilename()}, ${content.length} bytes`);
}

/** @param {string} name */
async function open(name) {
  current = name;
  const button = page.locator(`[data-operation="${name}"]`);
  await button.focus();
  await page.keyboard.press('Enter');
  await page.locator(`[data-operation="${name}"][aria-current="step"]`).waitFor();
}

/** The answer in the editor, or nothing while there is none. Runs in the page. */
function readResponse() {
  const models = /** @type {any} */ (globalThis).__MONACO?.editor.getModels() ?? [];
  return models.find((/** @type {any} */ model) => model.uri.path.endsWith('response.json'))?.getValue();
}

async function response() {
  return String((await page.evaluate(readResponse)) ?? '');
}

/** @param {() => unknown} look */
function tried(look) {
  try {
    return look();
  } catch {
    return undefined;
  }
}
