// Colours for code: comments, strings, numbers, words of the language, names that are called, types. One pass over the text with one expression per family of languages, in which nothing can be
// tried twice; what it does not know stays plain.

const LONGEST = 60000;
const words = text => new Set(text.split(" "));

const braces = "break case catch class const continue default do else enum export extends false finally for if import in instanceof new null return static super switch this throw true try typeof var void while";
const csharp = words(`${braces} abstract and as async await base bool byte char checked decimal delegate double event explicit extern field file fixed float foreach get global goto implicit init int interface internal is let lock long namespace not object operator or out override params partial private protected public readonly record ref required sbyte sealed select set short sizeof stackalloc string struct uint ulong unchecked unsafe ushort using value virtual volatile when where with yield nint nuint`);
const script = words(`${braces} abstract any as async await boolean debugger declare delete from function get implements infer interface is keyof let module namespace never number object of private protected public readonly satisfies set string symbol type undefined unknown yield`);
const java = words(`${braces} abstract assert boolean byte char double final float fun implements int interface internal is long native object open override package private protected public record sealed short suspend synchronized throws transient val volatile when permits yield`);
const c = words("alignas alignof asm auto bool break case catch char char16_t char32_t class concept const const_cast consteval constexpr constinit continue co_await co_return co_yield decltype default delete do double dynamic_cast else enum explicit export extern false final float for friend goto if inline int int8_t int16_t int32_t int64_t long mutable namespace new noexcept nullptr operator override private protected public register reinterpret_cast requires restrict return short signed size_t sizeof static static_assert static_cast struct switch template this thread_local throw true try typedef typeid typename uint8_t uint16_t uint32_t uint64_t union unsigned using virtual void volatile while NULL");
const rust = words("as async await break const continue crate dyn else enum extern false fn for if impl in let loop match mod move mut pub ref return self Self static struct super trait true type unsafe use where while bool char f32 f64 i8 i16 i32 i64 i128 isize str u8 u16 u32 u64 u128 usize String Vec Option Result Some None Ok Err");
const go = words("any bool break byte case chan complex64 complex128 const continue default defer else error fallthrough false float32 float64 for func go goto if import int int8 int16 int32 int64 interface iota map nil package range return rune select string struct switch true type uint uint8 uint16 uint32 uint64 uintptr var");
const swift = words("as associatedtype async await break case catch class continue convenience default defer do else enum extension false fileprivate final for func guard if import in init inout internal is lazy let mutating nil open operator override private protocol public repeat rethrows return self static struct subscript super switch throw throws true try var weak where while");
const php = words(`${braces} abstract and array as callable declare echo elseif empty endif endfor endforeach endwhile fn foreach function global implements include interface isset list match namespace or print private protected public readonly require require_once trait unset use xor yield int string bool float mixed self`);
const python = words("and as assert async await break class continue def del elif else except False finally for from global if import in is lambda match case None nonlocal not or pass raise return self True try type while with yield print len range int str float bool list dict set tuple");
const ruby = words("alias and begin break case class def defined? do else elsif end ensure false for if in module next nil not or redo rescue retry return self super then true undef unless until when while yield require attr_accessor attr_reader puts");
const shell = words("if then else elif fi for while until do done case esac in function return local export readonly declare set unset source alias cd echo exit printf read shift trap sudo eval exec test true false");
const julia = words("abstract baremodule begin break catch const continue do else elseif end export false finally for function global if import in let local macro module mutable nothing primitive quote return struct true try type using where while r in repeat next NULL TRUE FALSE");
const lua = words("and break do else elseif end false for function goto if in local nil not or repeat return then true until while");
const sql = words("add all alter and as asc begin between by case check column commit constraint count create cross database default delete desc distinct drop else end exists false foreign from full group having if in index inner insert into is join key left like limit not null offset on or order outer over partition primary references returning right rollback select set sum table then transaction true union unique update values view when where with int integer text varchar char boolean date timestamp numeric real serial bigint avg min max");
const fsharp = words("abstract and as assert base begin class default do done downto elif else end exception extern false finally for fun function global if in inherit inline interface internal lazy let match member module mutable namespace new not null of open or override private public rec return static struct then to true try type use val when while with yield async int string bool float unit where data deriving instance newtype case import qualified forall");
const powershell = words("begin break catch class continue data do dynamicparam else elseif end enum exit filter finally for foreach from function hidden if in param process return static switch throw trap try until using while");
const literals = words("true false null yes no on off none True False");
const basic = words("And As Boolean ByRef ByVal Case Catch Class Const Dim Do Double Each Else ElseIf End Enum Exit False Finally For Friend Function Get If Imports In Integer Interface Is Loop Me Mod Module MustInherit Namespace New Next Not Nothing Of Or Overrides Private Property Protected Public ReadOnly Return Select Set Shared String Structure Sub Then Throw To True Try Until Using While With");

const slashes = "\\/\\/[^\\n]*|\\/\\*[^*]*\\*+(?:[^/*][^*]*\\*+)*\\/|\\/\\*[^]*$";
const hash = "#[^\\n]*";
const quotes = "\"(?:[^\"\\\\\\n]|\\\\.)*\"?|'(?:[^'\\\\\\n]|\\\\.)*'?";
const languages = {};

function family(names, comment, string, keywords, { ignoreCase = false } = {}) {
  for (const [key, title] of Object.entries(names)) languages[key] = { title, comment, string, keywords, ignoreCase };
}

family({ csharp: "C#", cs: "C#", "c#": "C#" }, `${slashes}`, `\\${0,3}"""[^]*?(?:"""|(?![^]))|(?:@\\$?|\\$@)"[^"]*(?:""[^"]*)*"?|\\$?${quotes}`, csharp);
family({ javascript: "JavaScript", js: "JavaScript", jsx: "JavaScript", mjs: "JavaScript", typescript: "TypeScript", ts: "TypeScript", tsx: "TypeScript" }, slashes, `\`[^\`\\\\]*(?:\\\\[^][^\`\\\\]*)*\`?|${quotes}`, script);
family({ java: "Java", kotlin: "Kotlin", kt: "Kotlin", scala: "Scala" }, slashes, `"""[^]*?(?:"""|(?![^]))|${quotes}`, java);
family({ c: "C", h: "C", cpp: "C++", "c++": "C++", cc: "C++", hpp: "C++", cuda: "CUDA" }, `${slashes}|^[ \\t]*#[^\\n]*`, quotes, c);
family({ rust: "Rust", rs: "Rust" }, slashes, "\"[^\"\\\\]*(?:\\\\[^][^\"\\\\]*)*\"?|'(?:[^'\\\\\\n]|\\\\.)'", rust);
family({ go: "Go", golang: "Go" }, slashes, `\`[^\`]*\`?|${quotes}`, go);
family({ swift: "Swift" }, slashes, `"""[^]*?(?:"""|(?![^]))|${quotes}`, swift);
family({ php: "PHP" }, `${slashes}|${hash}`, quotes, php);
family({ python: "Python", py: "Python", python3: "Python" }, hash, `[rbfRBF]{0,2}(?:"""[^]*?(?:"""|(?![^]))|'''[^]*?(?:'''|(?![^])))|[rbfRBF]{0,2}(?:${quotes})`, python);
family({ ruby: "Ruby", rb: "Ruby" }, hash, quotes, ruby);
family({ bash: "Bash", sh: "Shell", zsh: "Shell", shell: "Shell", console: "Shell", terminal: "Shell", dockerfile: "Dockerfile", docker: "Dockerfile", makefile: "Makefile", make: "Makefile" }, "(?:^|(?<=\\s))#[^\\n]*", "\"[^\"\\\\]*(?:\\\\[^][^\"\\\\]*)*\"?|'[^']*'?", shell);
family({ julia: "Julia", jl: "Julia", r: "R", perl: "Perl", pl: "Perl" }, hash, quotes, julia);
family({ lua: "Lua" }, "--[^\\n]*", quotes, lua);
family({ sql: "SQL", pgsql: "SQL", sqlite: "SQL" }, "--[^\\n]*|\\/\\*[^]*?(?:\\*\\/|(?![^]))", "'[^']*(?:''[^']*)*'?|\"[^\"]*\"?", sql, { ignoreCase: true });
family({ fsharp: "F#", fs: "F#", "f#": "F#", haskell: "Haskell", hs: "Haskell", ocaml: "OCaml" }, "\\/\\/[^\\n]*|--[^\\n]*|\\(\\*[^]*?(?:\\*\\)|(?![^]))", "\"(?:[^\"\\\\]|\\\\[^])*\"?", fsharp);
family({ powershell: "PowerShell", ps1: "PowerShell", pwsh: "PowerShell" }, `<#[^]*?(?:#>|(?![^]))|${hash}`, "\"[^\"]*\"?|'[^']*'?", powershell, { ignoreCase: true });
family({ json: "JSON", jsonc: "JSON" }, slashes, "\"(?:[^\"\\\\\\n]|\\\\.)*\"?", literals);
family({ yaml: "YAML", yml: "YAML", toml: "TOML", ini: "INI", nginx: "nginx" }, "(?:^|(?<=\\s))[#;][^\\n]*", quotes, literals);
family({ css: "CSS", scss: "CSS" }, slashes, quotes, new Set());
family({ xml: "XML", html: "HTML", svg: "SVG", xhtml: "HTML" }, "<!--[^]*?(?:-->|(?![^]))", "\"[^\"<>]*\"|'[^'<>]*'", new Set());
family({ vb: "Visual Basic", vbnet: "Visual Basic" }, "'[^\\n]*", "\"[^\"\\n]*\"?", basic);
family({ latex: "LaTeX", tex: "LaTeX", matlab: "MATLAB" }, "%[^\\n]*", "(?!)", julia);
family({ asm: "Assembler", assembly: "Assembler", x86asm: "Assembler" }, ";[^\\n]*", quotes, new Set());

function keyOf(language) {
  const key = language.trim().split(/[\s,{:]/, 1)[0].toLowerCase();
  return Object.hasOwn(languages, key) ? key : null;
}

/** What stands above a block of code. */
export function nameOf(language) {
  const key = keyOf(language);
  return key ? languages[key].title : language.trim().split(/\s/, 1)[0].slice(0, 24) || "Code";
}

/** The text in pieces, for the element that holds it. */
export function highlight(text, language) {
  const key = keyOf(language);
  if (!key || text.length > LONGEST) return [text];
  const of = languages[key];
  of.expression ??= new RegExp(`(${of.comment})|(${of.string})|(\\b(?:0[xXbB][0-9a-fA-F_]+|\\d[\\d_]*(?:\\.\\d+)?(?:[eE][+-]?\\d+)?)\\w*)|([A-Za-z_$@][\\w$]*\\??(?=\\s*\\())|([A-Za-z_$@][\\w$]*)`, "gm");
  const pieces = [];
  let at = 0;
  of.expression.lastIndex = 0;
  for (const match of text.matchAll(of.expression)) {
    if (match[0] === "") continue;
    const kind = kindOf(match, of);
    if (!kind) continue;
    if (match.index > at) pieces.push(text.slice(at, match.index));
    const span = document.createElement("span");
    span.className = `code-${kind}`;
    span.textContent = match[0];
    pieces.push(span);
    at = match.index + match[0].length;
  }

  if (at < text.length) pieces.push(text.slice(at));
  return pieces;
}

function kindOf([, comment, string, number, called, word], { keywords, ignoreCase }) {
  if (comment !== undefined) return "comment";
  if (string !== undefined) return "string";
  if (number !== undefined) return "number";
  const name = called ?? word, key = ignoreCase ? name.toLowerCase() : name;
  if (keywords.has(key)) return "keyword";
  if (called !== undefined) return "call";
  return /^[A-Z][A-Za-z0-9]*[a-z]/.test(name) && keywords.size > 0 ? "type" : null;
}
