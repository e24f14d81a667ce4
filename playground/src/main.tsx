/** Starts the page. */
import 'graphiql/setup-workers/vite';
import 'graphiql/style.css';
import './playground.css';
import { createRoot } from 'react-dom/client';
import { Playground } from './Playground';

const place = document.getElementById('playground');
if (place) createRoot(place).render(<Playground />);
