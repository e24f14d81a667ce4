/** Asks for a token when the page has none or the server refused it. */
import { useId } from 'react';
import type { FormEvent } from 'react';
import { takeToken } from './session';

/** The bar above GraphiQL. */
export function TokenBar({ refused }: { refused: boolean }) {
  return (
    <section className="cw-token-bar" aria-label="Access token">
      <p role="alert">
        {refused
          ? 'The server refused the token; it may have expired. Reload the page for a fresh one, or paste one.'
          : 'This page has no token yet. Paste one to use more than “About this server”.'}
      </p>
      <TokenForm />
      {refused && (
        <button type="button" className="cw-button" onClick={() => location.reload()}>
          Reload
        </button>
      )}
    </section>
  );
}

/** A field to paste a token into; the token is kept in memory only. */
export function TokenForm({ onDone }: { onDone?: () => void }) {
  const id = useId();
  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const token = new FormData(event.currentTarget).get('token');
    if (typeof token !== 'string' || !token.trim()) return;
    takeToken(token);
    onDone?.();
  }
  return (
    <form className="cw-token-form" onSubmit={submit}>
      <label htmlFor={id}>Bearer token</label>
      <input id={id} name="token" type="password" autoComplete="off" spellCheck={false} required />
      <button type="submit" className="cw-button">
        Use this token
      </button>
    </form>
  );
}
