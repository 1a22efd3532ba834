using System.Collections.Frozen;

namespace Hadal.Server.Web.Text;

/// <summary>What TeX's names stand for.</summary>
static class FormulaSymbols
{
    /// <summary>Letters: set in italics.</summary>
    public static readonly FrozenDictionary<string, string> Letters = Table("""
        alpha α beta β gamma γ delta δ epsilon ϵ varepsilon ε zeta ζ eta η theta θ vartheta ϑ iota ι kappa κ lambda λ mu μ nu ν xi ξ omicron ο pi π varpi ϖ rho ρ varrho ϱ sigma σ varsigma ς tau τ
        upsilon υ phi ϕ varphi φ chi χ psi ψ omega ω ell ℓ hbar ℏ imath ı jmath ȷ wp ℘ partial ∂ nabla ∇ infty ∞ aleph ℵ beth ℶ emptyset ∅ varnothing ∅ Re ℜ Im ℑ
        """);

    /// <summary>Letters and signs: set upright.</summary>
    public static readonly FrozenDictionary<string, string> Upright = Table("""
        Gamma Γ Delta Δ Theta Θ Lambda Λ Xi Ξ Pi Π Sigma Σ Upsilon Υ Phi Φ Psi Ψ Omega Ω top ⊤ bot ⊥ dots … ldots … cdots ⋯ vdots ⋮ ddots ⋱ dotsc … dotsb ⋯ angle ∠ triangle △ square □ checkmark ✓
        % % $ $ # # & & _ _ degree ° copyright © pounds £ S § P ¶ dag † ddag ‡ prime ′ backslash \
        """);

    /// <summary>Operators and relations.</summary>
    public static readonly FrozenDictionary<string, string> Operators = Table("""
        cdot ⋅ times × div ÷ pm ± mp ∓ ast ∗ star ⋆ circ ∘ bullet ∙ oplus ⊕ ominus ⊖ otimes ⊗ oslash ⊘ odot ⊙ wedge ∧ land ∧ vee ∨ lor ∨ cap ∩ cup ∪ uplus ⊎ setminus ∖ smallsetminus ∖ neg ¬ lnot ¬
        leq ≤ le ≤ geq ≥ ge ≥ neq ≠ ne ≠ ll ≪ gg ≫ approx ≈ sim ∼ simeq ≃ cong ≅ equiv ≡ propto ∝ prec ≺ succ ≻ preceq ⪯ succeq ⪰ lt < gt > leqslant ⩽ geqslant ⩾ coloneqq ≔ triangleq ≜ doteq ≐ asymp ≍
        in ∈ notin ∉ ni ∋ subset ⊂ subseteq ⊆ subsetneq ⊊ supset ⊃ supseteq ⊇ mid ∣ nmid ∤ parallel ∥ perp ⊥ vdash ⊢ models ⊨ forall ∀ exists ∃ nexists ∄ therefore ∴ because ∵ ltimes ⋉ rtimes ⋊
        to → rightarrow → leftarrow ← gets ← leftrightarrow ↔ Rightarrow ⇒ Leftarrow ⇐ Leftrightarrow ⇔ implies ⟹ impliedby ⟸ iff ⟺ mapsto ↦ longrightarrow ⟶ longleftarrow ⟵ longmapsto ⟼ uparrow ↑
        downarrow ↓ updownarrow ↕ Uparrow ⇑ Downarrow ⇓ nearrow ↗ searrow ↘ hookrightarrow ↪ rightharpoonup ⇀ leadsto ⇝ rightsquigarrow ⇝
        colon : langle ⟨ rangle ⟩ lfloor ⌊ rfloor ⌋ lceil ⌈ rceil ⌉ lvert | rvert | vert | lVert ‖ rVert ‖ Vert ‖ | ‖ { { } } lbrace { rbrace } lbrack [ rbrack ] slash /
        """);

    /// <summary>Operators whose limits stand above and below in a display.</summary>
    public static readonly FrozenDictionary<string, string> Large = Table("""
        sum ∑ prod ∏ coprod ∐ bigcup ⋃ bigcap ⋂ bigvee ⋁ bigwedge ⋀ bigoplus ⨁ bigotimes ⨂ bigodot ⨀ biguplus ⨄
        """);

    /// <summary>Integrals: limits beside them.</summary>
    public static readonly FrozenDictionary<string, string> Integrals = Table("int ∫ iint ∬ iiint ∭ oint ∮");

    /// <summary>Functions by name; those of <see cref="Limits"/> take limits.</summary>
    public static readonly FrozenSet<string> Functions = "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh coth log ln lg exp deg dim ker hom arg det gcd Pr".Split(' ').ToFrozenSet(StringComparer.Ordinal);

    /// <summary>Functions whose limits stand below in a display.</summary>
    public static readonly FrozenDictionary<string, string> Limits = Table("lim lim limsup lim~sup liminf lim~inf max max min min sup sup inf inf argmax arg~max argmin arg~min det det gcd gcd Pr Pr");

    /// <summary>Marks above a letter.</summary>
    public static readonly FrozenDictionary<string, string> Accents = Table("hat ^ widehat ^ bar ¯ overline ¯ vec → overrightarrow → tilde ˜ widetilde ˜ dot ˙ ddot ¨ check ˇ breve ˘ acute ´ grave ` mathring ˚ overbrace ⏞");

    /// <summary>Marks below.</summary>
    public static readonly FrozenDictionary<string, string> Under = Table("underline _ underbrace ⏟");

    /// <summary>Spaces, in em.</summary>
    public static readonly FrozenDictionary<string, string> Spaces = Table(", 0.167em : 0.222em > 0.222em ; 0.278em ! -0.167em quad 1em qquad 2em enspace 0.5em thinspace 0.167em");

    /// <summary>Brackets of environments: before and after.</summary>
    public static readonly FrozenDictionary<string, (string Before, string After)> Environments = new Dictionary<string, (string, string)>(StringComparer.Ordinal)
    {
        ["matrix"] = ("", ""), ["smallmatrix"] = ("", ""), ["pmatrix"] = ("(", ")"), ["bmatrix"] = ("[", "]"), ["Bmatrix"] = ("{", "}"), ["vmatrix"] = ("|", "|"), ["Vmatrix"] = ("‖", "‖"), ["cases"] = ("{", ""),
        ["rcases"] = ("", "}"), ["array"] = ("", ""), ["aligned"] = ("", ""), ["align"] = ("", ""), ["align*"] = ("", ""), ["alignedat"] = ("", ""), ["split"] = ("", ""), ["gather"] = ("", ""), ["gather*"] = ("", ""),
        ["gathered"] = ("", ""), ["equation"] = ("", ""), ["equation*"] = ("", ""), ["multline"] = ("", ""), ["multline*"] = ("", ""),
    }.ToFrozenDictionary(StringComparer.Ordinal);

    /// <summary>A letter in another alphabet: bold, double-struck, script, Fraktur; the letter itself where there is none.</summary>
    public static string Styled(string style, char letter)
    {
        // Letters that were in Unicode before the alphabets were.
        (string Exceptions, int Capital, int Small, int Digit) = style switch
        {
            "mathbf" or "boldsymbol" or "bm" or "textbf" => ("", 0x1d400, 0x1d41a, 0x1d7ce),
            "mathbb" => ("CℂHℍNℕPℙQℚRℝZℤ", 0x1d538, 0x1d552, 0x1d7d8),
            "mathcal" or "mathscr" => ("BℬEℰFℱHℋIℐLℒMℳRℛeℯgℊoℴ", 0x1d49c, 0x1d4b6, 0),
            "mathfrak" => ("CℭHℌIℑRℜZℨ", 0x1d504, 0x1d51e, 0),
            "mathsf" => ("", 0x1d5a0, 0x1d5ba, 0x1d7e2),
            "mathtt" => ("", 0x1d670, 0x1d68a, 0x1d7f6),
            _ => ("", 0, 0, 0),
        };
        int at = Exceptions.IndexOf(letter, StringComparison.Ordinal);
        if (at >= 0 && at % 2 == 0) return Exceptions[at + 1].ToString();
        int point = letter switch
        {
            >= 'A' and <= 'Z' when Capital > 0 => Capital + letter - 'A',
            >= 'a' and <= 'z' when Small > 0 => Small + letter - 'a',
            >= '0' and <= '9' when Digit > 0 => Digit + letter - '0',
            _ => letter,
        };
        return char.ConvertFromUtf32(point);
    }

    static FrozenDictionary<string, string> Table(string pairs)
    {
        string[] words = pairs.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);
        var table = new Dictionary<string, string>(StringComparer.Ordinal);
        for (int i = 0; i + 1 < words.Length; i += 2) table[words[i]] = words[i + 1].Replace('~', '\u00a0');
        return table.ToFrozenDictionary(StringComparer.Ordinal);
    }
}
