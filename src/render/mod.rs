//! Files: readers that turn bytes into checked values, and writers that turn values into bytes. Pure: nothing here
//! fetches data or stores it, and the same input gives the same bytes.

pub mod csv_reader;
pub mod csv_writer;
pub mod docx;

mod csv_headings;
