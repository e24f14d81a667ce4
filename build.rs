//! Makes sure that the folder of the built playground exists, because it is embedded at compile time. A plain
//! `cargo build` then works without Node; the server shows a page that says how to build the playground.

fn main() {
    println!("cargo::rerun-if-changed=playground/dist");
    if let Err(error) = std::fs::create_dir_all("playground/dist") {
        println!("cargo::warning=cannot create playground/dist: {error}");
    }
}
