namespace Hadal.Server.Tests;

/// <summary>Folders of servers that have just ended.</summary>
static class Folders
{
    /// <summary>Deletes a folder. A database closes its files a moment after its server: what is still written then is deleted in the next round.</summary>
    public static void Delete(string folder)
    {
        for (int round = 0; ; round++)
        {
            try
            {
                Directory.Delete(folder, recursive: true);
                return;
            }
            catch (IOException) when (round < 50)
            {
                Thread.Sleep(100);
            }
        }
    }
}
