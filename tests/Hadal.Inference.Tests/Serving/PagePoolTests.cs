using Hadal.Inference.Serving.Paging;

namespace Hadal.Inference.Tests.Serving;

/// <summary>What a page of the latent cache goes through.</summary>
public sealed class PagePoolTests
{
    static BlockKey Key(int n) => BlockKey.Root("test", $"{n}");

    [Fact]
    public void The_least_recently_used_prefix_is_forgotten_first()
    {
        using var model = new TestModel(mtp: false);
        using var pool = new PagePool(model.Transformer, 3, withMtp: false);
        int[] pages = [pool.Take(), pool.Take(), pool.Take()];
        Assert.Equal(-1, pool.Take());
        for (int n = 0; n < 3; n++) pool.Seal(pages[n], Key(n));
        foreach (int n in (int[])[1, 0, 2]) pool.Release(pages[n]);
        Assert.Equal((3, 3), (pool.Remembered, pool.Available));

        // Page 1 was let go of first, but is used once more: 0 goes, then 2, then 1.
        Assert.True(pool.Find(Key(1), out int found));
        pool.Hold(found);
        pool.Release(found);
        foreach (int n in (int[])[0, 2, 1])
        {
            Assert.True(pool.Find(Key(n), out _));
            Assert.Equal(pages[n], pool.Take());
            Assert.False(pool.Find(Key(n), out _));
        }

        Assert.Equal((0, 0, -1), (pool.Remembered, pool.Available, pool.Take()));
    }

    [Fact]
    public void A_page_that_others_hold_or_may_find_is_not_written_to()
    {
        using var model = new TestModel(mtp: false);
        using var pool = new PagePool(model.Transformer, 2, withMtp: false);
        int page = pool.Take();
        Assert.True(pool.IsPrivate(page));
        pool.Hold(page);
        Assert.False(pool.IsPrivate(page));
        pool.Release(page);
        Assert.True(pool.IsPrivate(page));
        pool.Seal(page, Key(1));
        Assert.False(pool.IsPrivate(page));
    }

    [Fact]
    public void A_page_whose_bytes_changed_is_noticed_and_found_no_more()
    {
        using var model = new TestModel();
        using var pool = new PagePool(model.Transformer, 2, withMtp: true);
        for (int layer = 0; layer < pool.Layers; layer++)
        {
            int page = pool.Take();
            pool.Seal(page, Key(layer));
            Assert.True(pool.IsIntact(page));
            pool.Rows(layer, page, 64)[^1] ^= 1;
            Assert.False(pool.IsIntact(page));
            pool.Release(page);
            pool.Distrust(page);
            Assert.False(pool.Find(Key(layer), out _));
            Assert.Equal((2, 0), (pool.Available, pool.Remembered));
        }
    }

    [Fact]
    public void Names_depend_on_tokens_and_everything_before_them_and_on_model_and_owner()
    {
        int[] first = [.. Enumerable.Range(0, 64)], second = [.. Enumerable.Range(1, 64)];
        BlockKey root = BlockKey.Root("model", "ada");
        BlockKey[] all =
        [
            root, BlockKey.Root("model", "grace"), BlockKey.Root("other", "ada"), root.Next(first), root.Next(second), root.Next(first).Next(first), root.Next(second).Next(first), root.Next(first).Next(second),
        ];
        Assert.Equal(all.Length, all.Distinct().Count());
        Assert.Equal(root.Next(first).Next(second), BlockKey.Root("model", "ada").Next(first).Next(second));
    }
}
