//! The structure of the sources: no file imports, by whatever way round, a file that imports it, and no folder holds more than a person
//! can look over.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Item, ItemMod, ItemUse, UseTree, Visibility,
    visit::{self, Visit},
};

use super::{root, rust_files};

/// Most files and folders of one folder.
const SIBLINGS: usize = 20;

type Module = Vec<String>;

/// `a/b.rs` and `a/b/mod.rs` are `a::b`.
fn module_of(file: &Path) -> Module {
    let mut names: Module = file
        .with_extension("")
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.pop_if(|last| last == "mod");
    names
}

/// All paths of a file that begin in this crate, absolute, outside of tests.
struct Imports<'a> {
    here: Module,
    modules: &'a BTreeMap<Module, PathBuf>,
    /// Such a file hands names on: that is no use of them.
    has_children: bool,
    found: BTreeSet<Module>,
}

impl Imports<'_> {
    fn note(&mut self, path: &[String]) {
        let ups = path.iter().take_while(|name| *name == "super").count();
        let absolute: Module = match path.first().map(String::as_str) {
            Some("crate" | "finetuned") => path[1..].to_vec(),
            Some("self") => [&self.here[..], &path[1..]].concat(),
            Some("super") => {
                let Some(left) = self.here.len().checked_sub(ups) else {
                    return;
                };
                [&self.here[..left], &path[ups..]].concat()
            }
            Some(_) => [&self.here[..], path].concat(),
            None => return,
        };
        let longest = (1..=absolute.len())
            .rev()
            .map(|length| &absolute[..length])
            .find(|module| self.modules.contains_key(*module));
        if let Some(module) = longest.filter(|module| *module != self.here) {
            self.found.insert(module.to_vec());
        }
    }

    fn tree(&mut self, tree: &UseTree, before: &mut Vec<String>) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(&path.tree, before);
                before.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(tree, before)),
            UseTree::Name(name) if name.ident == "self" => self.note(before),
            UseTree::Name(name) => self.note(&[&before[..], &[name.ident.to_string()]].concat()),
            UseTree::Rename(name) => self.note(&[&before[..], &[name.ident.to_string()]].concat()),
            UseTree::Glob(_) => self.note(before),
        }
    }
}

impl Visit<'_> for Imports<'_> {
    fn visit_item_mod(&mut self, module: &ItemMod) {
        // Tests may know anything.
        if module.content.is_some()
            && !module
                .attrs
                .iter()
                .any(|attribute| attribute.path().is_ident("cfg"))
        {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &ItemUse) {
        if self.has_children && !matches!(item.vis, Visibility::Inherited) {
            return;
        }
        self.tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|name| name.ident.to_string()).collect();
        if names.len() > 1 && ["crate", "super", "self", "finetuned"].contains(&names[0].as_str()) {
            self.note(&names);
        }
        visit::visit_path(self, path);
    }

    fn visit_visibility(&mut self, _: &Visibility) {}
}

/// Which module imports which.
fn imports() -> BTreeMap<Module, BTreeSet<Module>> {
    let root = root();
    let relative = |path: PathBuf| path.strip_prefix(&root).unwrap().to_owned();
    let files = rust_files(&root).into_iter().map(relative);
    // The programs and the crate itself import from everywhere, and nobody from them.
    let files = files.filter(|file| !file.starts_with("bin") && file != Path::new("lib.rs"));
    let modules: BTreeMap<Module, PathBuf> = files.map(|file| (module_of(&file), file)).collect();
    assert!(modules.len() > 300, "the sources are not where this test looks");
    let imports_of = |(module, file): (&Module, &PathBuf)| {
        let text = fs::read_to_string(root.join(file)).unwrap();
        let parsed = syn::parse_file(&text).unwrap_or_else(|fault| panic!("{}: {fault}", file.display()));
        let mut imports = Imports {
            here: module.clone(),
            modules: &modules,
            has_children: parsed
                .items
                .iter()
                .any(|item| matches!(item, Item::Mod(child) if child.content.is_none())),
            found: BTreeSet::new(),
        };
        imports.visit_file(&parsed);
        (module.clone(), imports.found)
    };
    modules.iter().map(imports_of).collect()
}

/// A way from a module back to itself, if there is one.
fn circle(imports: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<String>> {
    fn follow<'a>(
        module: &'a Module,
        imports: &'a BTreeMap<Module, BTreeSet<Module>>,
        way: &mut Vec<&'a Module>,
        done: &mut BTreeSet<&'a Module>,
    ) -> Option<Vec<String>> {
        if let Some(start) = way.iter().position(|earlier| *earlier == module) {
            let round = way[start..].iter().chain([&module]);
            return Some(round.map(|module| module.join("::")).collect());
        }
        if done.contains(module) {
            return None;
        }
        way.push(module);
        let found = imports[module]
            .iter()
            .find_map(|imported| follow(imported, imports, way, done));
        way.pop();
        done.insert(module);
        found
    }
    let (mut way, mut done) = (Vec::new(), BTreeSet::new());
    imports
        .keys()
        .find_map(|module| follow(module, imports, &mut way, &mut done))
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let imports = imports();
    let arrows: usize = imports.values().map(BTreeSet::len).sum();
    assert!(arrows > 1000, "only {arrows} imports were read");
    assert_eq!(circle(&imports), None);
}

#[test]
fn a_circle_would_be_found() {
    let module = |name: &str| vec![name.to_owned()];
    let arrow = |from: &str, to: &[&str]| (module(from), to.iter().map(|name| module(name)).collect());
    let mut imports = BTreeMap::from([arrow("a", &["b"]), arrow("b", &["c"]), arrow("c", &[])]);
    assert_eq!(circle(&imports), None);
    imports.insert(module("c"), BTreeSet::from([module("b")]));
    assert_eq!(circle(&imports).unwrap(), ["b", "c", "b"]);
}

#[test]
fn no_folder_holds_more_than_can_be_looked_over() {
    fn crowded(folder: &Path, found: &mut Vec<String>) {
        let entries: Vec<PathBuf> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        // `split.rs` and the folder `split` are one module.
        let names: BTreeSet<_> = entries.iter().map(|path| path.with_extension("")).collect();
        if names.len() > SIBLINGS {
            found.push(format!("{}: {}", folder.display(), names.len()));
        }
        for entry in entries.iter().filter(|path| path.is_dir()) {
            crowded(entry, found);
        }
    }
    let mut found = Vec::new();
    for folder in [root(), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")] {
        crowded(&folder, &mut found);
    }
    assert!(
        found.is_empty(),
        "part these folders by subject, at most {SIBLINGS} each: {found:#?}"
    );
}
