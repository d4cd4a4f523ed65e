//! Which libraries are loaded: nothing that lies in the current folder, nothing that is damaged, and nothing that talks.

use crate::support::{Lab, Outcome, names, shared};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// The library that these tests run with.
fn library() -> PathBuf {
    let lab = Lab::new();
    let list = lab.run(&["runtime", "--json"]).json();
    list.as_array().unwrap().iter().find(|l| l["chosen"] == true).unwrap()["path"].as_str().unwrap().into()
}

/// A shared library made of C, named as ONNX Runtime's.
fn stub(lab: &Lab, folder: &str, source: &str) -> PathBuf {
    lab.write(&format!("{folder}/stub.c"), source);
    let path = lab.path(folder).join("libonnxruntime.so.1.40.0");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&path).arg(lab.path(folder).join("stub.c")).status().unwrap();
    assert!(made.success());
    std::fs::remove_file(lab.path(folder).join("stub.c")).unwrap();
    path
}

/// A command without a library that is named, with a cache and a home of its own.
fn bare(lab: &Lab, args: &[&str]) -> Command {
    let mut command = lab.command(args);
    command.env_remove("ORT_DYLIB_PATH").env_remove("VIRTUAL_ENV").env_remove("XDG_CACHE_HOME");
    command.env("HOME", lab.path("home")).env("SPGRAPH_CACHE", lab.path("cache"));
    command
}

fn chosen(list: &serde_json::Value) -> Option<&serde_json::Value> {
    list.as_array().unwrap().iter().find(|l| l["chosen"] == true)
}

#[test]
fn nothing_in_the_current_folder_is_run() {
    let lab = Lab::new();
    // What an isolated start would never touch: modules that Python imports by itself, a package, programs, a library.
    let touch = |name: &str| format!("open({:?}, 'w').close()\n", lab.path("touched").join(name));
    std::fs::create_dir(lab.path("touched")).unwrap();
    for module in ["warnings.py", "site.py", "sitecustomize.py", "usercustomize.py", "importlib.py", "json.py", "os.py"] {
        lab.write(module, touch(module));
    }
    lab.write("onnxruntime/__init__.py", touch("onnxruntime"));
    lab.write("onnxruntime/capi/__init__.py", "");
    stub(&lab, "onnxruntime/capi", &format!("__attribute__((constructor)) void f(void) {{ {} }}", "*(volatile int*)0 = 1;"));
    for program in ["python3", "python", "pip", "nvidia-smi"] {
        lab.write(program, format!("#!/bin/sh\ntouch {:?}\n", lab.path("touched").join(program)));
        std::fs::set_permissions(lab.path(program), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let here = std::env::var("PATH").unwrap();
    for (name, value) in
        [("PATH", format!(".:{here}")), ("PATH", format!(":{here}")), ("PYTHONPATH", ".".into()), ("LD_LIBRARY_PATH", ".:".into())]
    {
        let mut command = bare(&lab, &["runtime", "--json"]);
        command.env(name, &value);
        let list = Outcome::of(command.output().unwrap()).json();
        let own = lab.0.path().canonicalize().unwrap();
        for candidate in list.as_array().unwrap() {
            let path = Path::new(candidate["path"].as_str().unwrap());
            assert!(path.is_absolute() && !path.starts_with(&own), "{name}={value}: {candidate}");
        }
        let mut command = bare(&lab, &["predict", &shared().model, &format!("{}/cells/cells-s0-00000.png", shared().images)]);
        command.env(name, &value);
        Outcome::of(command.output().unwrap()).ok();
    }
    assert!(names(&lab.path("touched")).is_empty(), "{:?}", names(&lab.path("touched")));
}

#[test]
fn a_relative_path_in_the_environment_is_refused() {
    let lab = Lab::new();
    std::os::unix::fs::symlink(library(), lab.path("libonnxruntime.so")).unwrap();
    let image = format!("{}/cells/cells-s0-00000.png", shared().images);
    for relative in ["libonnxruntime.so", "./libonnxruntime.so"] {
        let mut command = lab.command(&["predict", &shared().model, &image]);
        command.env("ORT_DYLIB_PATH", relative);
        Outcome::of(command.output().unwrap()).refused(1, &["ORT_DYLIB_PATH", relative, "relative", "from the root"]);
    }
    // Given on the command line it is what its user means.
    lab.run(&["predict", &shared().model, &image, "--ort-lib", "libonnxruntime.so"]).ok();
}

#[test]
fn a_library_that_would_end_or_stop_the_process_is_refused() {
    let lab = Lab::new();
    // One that calls its version so, and one of a good version whose functions are so.
    let versioned = |version: &str| {
        format!(
            "#include <string.h>\nstatic char text[1 << 24];\nstatic const char* v(void) {{ return {version}; }}\n\
             void* OrtGetApiBase(void) {{ static void* t[2]; t[1] = (void*)v; return t; }}"
        )
    };
    let api = |body: &str| {
        format!(
            "#include <unistd.h>\nstatic void* table[600];\nstatic void* nothing(void) {{ return 0; }}\n\
             static const char* v(void) {{ return \"1.40.0\"; }}\nstatic void* g(unsigned n) {{ {body} }}\n\
             void* OrtGetApiBase(void) {{ static void* t[2] = {{(void*)g, (void*)v}}; return t; }}"
        )
    };
    let cases = [
        ("crash", "__attribute__((constructor)) void f(void) { *(volatile int*)0 = 1; }", "SIGSEGV"),
        ("abort", "#include <stdlib.h>\n__attribute__((constructor)) void f(void) { abort(); }", "SIGABRT"),
        ("exit", "#include <unistd.h>\n__attribute__((constructor)) void f(void) { _exit(0); }", "ends the process"),
        ("hang", "#include <unistd.h>\n__attribute__((constructor)) void f(void) { for (;;) pause(); }", "within 5 seconds"),
        ("spin", "__attribute__((constructor)) void f(void) { for (volatile int i = 0;;) i = i; }", "within 5 seconds"),
        ("other", "int f(void) { return 0; }", "OrtGetApiBase"),
        ("null", "void* OrtGetApiBase(void) { return 0; }", "no OrtApiBase"),
        ("jump", "void* OrtGetApiBase(void) { return ((void* (*)(void))16)(); }", "SIGSEGV"),
        ("wild", "void* OrtGetApiBase(void) { static void* t[2] = {(void*)8, (void*)8}; return t; }", "SIGSEGV"),
        (
            "words",
            "static const char* v(void) { return \"newest\"; }\nvoid* OrtGetApiBase(void) { static void* t[2]; t[1] = (void*)v; return t; }",
            "what is none",
        ),
        ("nothing", &versioned("0"), "gives no version"),
        ("long", &versioned("(memset(text, '9', sizeof text - 1), text)"), "what is none"),
        ("empty", &api("return 0;"), "does not have the functions of 1."),
        ("zeros", &api("return table;"), "SIGSEGV"),
        ("leave", &api("_exit(7);"), "ends the process"),
        ("wait", &api("for (;;) pause();"), "within 5 seconds"),
        ("void", &api("for (int i = 0; i < 600; i++) table[i] = (void*)nothing; return table;"), "no environment"),
        (
            "old",
            "static const char* v(void) { return \"1.2.0\"; }\nvoid* OrtGetApiBase(void) { static void* t[2]; t[1] = (void*)v; return t; }",
            "its version is 1.2.0",
        ),
        (
            "link",
            "extern int nowhere(void);\nint f(void) { return nowhere(); }\n__attribute__((constructor)) void g(void) { nowhere(); }",
            "cannot be loaded",
        ),
    ];
    let image = format!("{}/cells/cells-s0-00000.png", shared().images);
    for (name, source, reason) in cases {
        let path = stub(&lab, name, source).display().to_string();
        let start = Instant::now();
        let args = ["predict", &shared().model, &image, "--ort-lib", &path];
        // Such a stub names no symbol that is missing until it is bound.
        let mut command = lab.command(&args);
        command.env("LD_BIND_NOW", if name == "link" { "1" } else { "" });
        let error = Outcome::of(command.output().unwrap()).refused(1, &["--ort-lib", &path, reason]);
        assert!(start.elapsed() < Duration::from_secs(20), "{name}: {error}");
    }
    let whole = std::fs::read(library()).unwrap();
    for keep in [100, 4096, whole.len() / 3, whole.len() - whole.len() / 50] {
        lab.write("cut/libonnxruntime.so", &whole[..keep]);
        let path = lab.path("cut/libonnxruntime.so").display().to_string();
        let args = ["predict", &shared().model, &image, "--ort-lib", &path];
        lab.run(&args).refused(1, &[&path]);
    }
}

#[test]
fn what_was_passed_over_is_said_and_the_next_is_taken() {
    let lab = Lab::new();
    // In the cache's place: something else than what was installed there.
    let pinned = "cache/onnxruntime-1.32.0/libonnxruntime.so.1.32.0";
    let mut bytes = std::fs::read(library()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    lab.write(pinned, &bytes);
    let broken = stub(&lab, "lib", "__attribute__((constructor)) void f(void) { *(volatile int*)0 = 1; }");
    let run = |args: &[&str]| {
        let mut command = bare(&lab, args);
        command.env("LD_LIBRARY_PATH", lab.path("lib"));
        Outcome::of(command.output().unwrap())
    };
    let list = run(&["runtime", "--json"]).json();
    let of = |path: &Path| {
        let path = path.canonicalize().unwrap();
        list.as_array().unwrap().iter().find(|c| Path::new(c["path"].as_str().unwrap()) == path).unwrap().clone()
    };
    assert!(of(&lab.path(pinned))["reason"].as_str().unwrap().contains("its hash is another"), "{list}");
    assert!(of(&broken)["reason"].as_str().unwrap().contains("SIGSEGV"), "{list}");
    assert_eq!(of(&broken)["sha256"].as_str().unwrap().len(), 64);
    if let Some(taken) = chosen(&list) {
        let reason = taken["reason"].as_str().unwrap();
        assert!(reason.contains("SIGSEGV") && reason.contains(&broken.display().to_string()), "{list}");
    }
    let image = format!("{}/cells/cells-s0-00000.png", shared().images);
    run(&["predict", &shared().model, &image]).ok();
    // The right one there needs no trial.
    std::fs::copy(library(), lab.path(pinned)).unwrap();
    let list = run(&["runtime", "--json"]).json();
    let taken = chosen(&list).unwrap();
    if taken["origin"] == "cache" {
        assert_eq!(taken["pinned"], true, "{list}");
    }
}

#[test]
fn libraries_that_others_may_change_are_used_only_where_they_are_named() {
    let lab = Lab::new();
    std::fs::create_dir(lab.path("lib")).unwrap();
    let path = lab.path("lib").join("libonnxruntime.so.1.99.0");
    std::fs::copy(library(), &path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let mut command = bare(&lab, &["runtime", "--json"]);
    command.env("LD_LIBRARY_PATH", lab.path("lib"));
    let list = Outcome::of(command.output().unwrap()).json();
    let own = list.as_array().unwrap().iter().find(|c| c["path"].as_str().unwrap().ends_with("1.99.0")).unwrap();
    assert!(own["chosen"] == false && own["reason"].as_str().unwrap().contains("everybody may change it"), "{list}");
    let image = format!("{}/cells/cells-s0-00000.png", shared().images);
    lab.run(&["predict", &shared().model, &image, "--ort-lib", path.to_str().unwrap()]).ok();
}

#[test]
fn nothing_is_written_outside_and_nobody_is_called() {
    let s = shared();
    let lab = Lab::new();
    for dir in ["home", "tmp", "elsewhere"] {
        std::fs::create_dir(lab.path(dir)).unwrap();
    }
    let image = format!("{}/cells/cells-s0-00000.png", s.images);
    let commands: [&[&str]; 5] = [
        &["runtime"],
        &["rewrite", &s.model, "--batch", "4", "-o", "b"],
        &["finetune", "b", "--data", &s.images, "--steps", "2", "--engine", "ort", "-o", "r"],
        &["eval", "r", "--data", &s.images, "--engine", "ort"],
        &["predict", "r", &image, "--engine", "ort"],
    ];
    let tracer = Command::new("strace").arg("-V").output().is_ok_and(|o| o.status.success());
    for args in commands {
        let plain = lab.command(args);
        let mut command = match tracer {
            true => {
                let mut traced = Command::new("strace");
                traced.args(["-f", "-qq", "-e", "trace=socket,connect,sendto", "-o"]).arg(lab.path("trace")).arg(plain.get_program());
                traced.args(plain.get_args()).current_dir(lab.0.path());
                traced
            }
            false => plain,
        };
        command.env("HOME", lab.path("home")).env("TMPDIR", lab.path("tmp")).env_remove("ORT_DISABLE_TELEMETRY");
        command.env("SPGRAPH_CACHE", lab.path("cache")).env_remove("XDG_CACHE_HOME").env_remove("XDG_DATA_HOME");
        Outcome::of(command.output().unwrap()).ok();
        if tracer {
            let trace = std::fs::read_to_string(lab.path("trace")).unwrap();
            let calls: Vec<&str> = trace.lines().filter(|l| l.contains("AF_INET")).collect();
            assert!(calls.is_empty(), "{args:?}: {calls:?}");
            std::fs::remove_file(lab.path("trace")).unwrap();
        }
        for dir in ["home", "tmp"] {
            assert!(names(&lab.path(dir)).is_empty(), "{args:?} left something in {dir}");
        }
    }
    assert_eq!(names(lab.0.path()), ["b", "elsewhere", "home", "r", "tmp"]);
}
