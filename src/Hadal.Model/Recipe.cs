namespace Hadal.Model;

/// <summary>
/// Precision, explicit: which format each product and cached tensor has. There is no ambient precision; a model is built with one recipe.
/// </summary>
/// <param name="Name">The name a user types.</param>
/// <param name="Summary">One line for <c>--help</c> and logs.</param>
public sealed record Recipe(string Name, string Summary)
{
    /// <summary>Everything in FP32: products, cached tensors, gradients.</summary>
    public static Recipe Fp32 { get; } = new("fp32", "FP32 products, activations and gradients");

    /// <summary>All recipes that exist, by name.</summary>
    public static IReadOnlyList<Recipe> All { get; } = [Fp32];

    /// <summary>Finds a recipe.</summary>
    /// <exception cref="ArgumentException">No recipe has that name; the message lists those that exist.</exception>
    public static Recipe Find(string name) => All.FirstOrDefault(r => string.Equals(r.Name, name, StringComparison.Ordinal))
        ?? throw new ArgumentException($"There is no recipe '{name}'. Recipes: {string.Join(", ", All.Select(r => r.Name))}.", nameof(name));
}
