//! Turns the feature that is asked for into the cfg that the sources know.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for checker in ["loom", "shuttle"] {
        println!("cargo::rustc-check-cfg=cfg(packstone_{checker})");
        if std::env::var_os(format!("CARGO_FEATURE_{}", checker.to_uppercase())).is_some() {
            println!("cargo::rustc-cfg=packstone_{checker}");
        }
    }
}
