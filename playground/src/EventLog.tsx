/** The events of the subscription that was run last, one line each; the editor itself shows only the newest. */
import { useEffect, useId, useRef } from 'react';
import { useSession } from './session';

/** The list of events; nothing if there are none. */
export function EventLog() {
  const { events, eventCount } = useSession();
  const heading = useId();
  const section = useRef<HTMLElement>(null);
  const list = useRef<HTMLOListElement>(null);
  const shown = eventCount > 0;
  useEffect(() => {
    list.current?.scrollTo({ top: list.current.scrollHeight });
  }, [eventCount]);
  useEffect(() => {
    section.current?.scrollIntoView({ block: 'nearest' });
  }, [shown]);
  if (!shown) return null;
  return (
    <section ref={section} className="cw-events" aria-labelledby={heading}>
      <h3 id={heading}>Events ({eventCount})</h3>
      {/* Not live: hundreds of lines read aloud would drown everything else. Focusable, so that keys can scroll it. */}
      <ol ref={list} tabIndex={0} aria-labelledby={heading}>
        {events.map((event) => (
          <li key={event.key}>
            <span className="cw-sequence">{event.sequence === null ? '' : `#${event.sequence}`}</span> <time>{event.at}</time> {event.text}
          </li>
        ))}
      </ol>
    </section>
  );
}
